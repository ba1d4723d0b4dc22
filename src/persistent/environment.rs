//! What of the environment of a CGI program is its request's, and what is the process's.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// RFC 3875's names and what web servers add to them, beside those that begin as in [`PREFIXES`]: among them those of pages that are
/// put together by mod_include, whose query they have, and the tickets of mod_auth_gssapi and mod_auth_kerb.
const NAMES: [&[u8]; 36] = [
    b"AUTH_TYPE",
    b"AUTH_USER",
    b"AUTH_PASSWORD",
    b"CONTENT_LENGTH",
    b"CONTENT_TYPE",
    b"DATE_GMT",
    b"DATE_LOCAL",
    b"DOCUMENT_ARGS",
    b"DOCUMENT_NAME",
    b"DOCUMENT_PATH_INFO",
    b"DOCUMENT_ROOT",
    b"DOCUMENT_URI",
    b"GATEWAY_INTERFACE",
    b"HTTPS",
    b"H2PUSH",
    b"H2_PUSH",
    b"H2_PUSHED",
    b"H2_PUSHED_ON",
    b"H2_STREAM_ID",
    b"H2_STREAM_TAG",
    b"KRB5CCNAME",
    b"LAST_MODIFIED",
    b"LOGON_USER",
    b"ORIG_PATH_INFO",
    b"ORIG_SCRIPT_NAME",
    b"PATH_INFO",
    b"PATH_TRANSLATED",
    b"PROXY_REMOTE_ADDR",
    b"QUERY_STRING",
    b"QUERY_STRING_UNESCAPED",
    b"UNENCODED_URL",
    b"UNIQUE_ID",
    b"URI",
    b"URL",
    b"USER_NAME",
    b"ap_trust_cgilike_cl",
];

/// Whole families: of RFC 3875 and TLS, of a rewrite, and of modules that tell who a client is, or where.
const PREFIXES: [&[u8]; 18] = [
    b"HTTP_",
    b"REDIRECT_",
    b"SSL_",
    b"TLS_",
    b"REMOTE_",
    b"REQUEST_",
    b"SCRIPT_",
    b"SERVER_",
    b"CONTEXT_",
    b"AUTHENTICATE_",
    b"AUTHORIZE_",
    b"GEOIP_",
    b"GSS_",
    b"MM_",
    b"MMDB_",
    b"OIDC_",
    b"HTTP2",
    b"MELLON_",
];

/// Whether a variable of this name is a request's: it differs from one to the next, and may be secret.
fn is_of_request(name: &OsStr) -> bool {
    let name = name.as_bytes();
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The environment of this process without what is its request's.
pub(super) fn of_responder() -> Vec<CString> {
    let variables = std::env::vars_os().filter(|(name, _)| !is_of_request(name));
    let strings = variables
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    // There can be no NUL in an environment.
    strings.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::is_of_request;

    #[test]
    fn what_the_operator_has_set_stays() {
        for name in [
            "PATH",
            "DATABASE_URL",
            "LANG",
            "TZ",
            "PYTHONPATH",
            "WSGI_GATEWAY_APP",
            "DJANGO_SETTINGS_MODULE",
            "HOME",
        ] {
            assert!(!is_of_request(name.as_ref()), "{name}");
        }
        for name in [
            "HTTP_COOKIE",
            "REMOTE_USER",
            "SSL_CLIENT_S_DN",
            "REDIRECT_HTTP_AUTHORIZATION",
            "QUERY_STRING",
            "HTTPS",
            "UNIQUE_ID",
            "QUERY_STRING_UNESCAPED",
            "AUTHENTICATE_MAIL",
            "MMDB_ADDR",
            "KRB5CCNAME",
        ] {
            assert!(is_of_request(name.as_ref()), "{name}");
        }
    }
}
