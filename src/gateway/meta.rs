//! What the gateway makes of the variables before the application sees them: which are dropped, which are joined, and
//! the few that are worked out of several (PEP 3333, "environ Variables"; RFC 3875 section 4.1).
//!
//! The rules come from what web servers really send: nginx sends `CONTENT_LENGTH` empty, HAProxy `SERVER_NAME` with the
//! port, Caddy `HTTP_X.DOT`, nginx and HAProxy each repeated header by itself, and so on.

use std::borrow::Cow;

use super::head::decimal;
use super::mount::Mount;
use super::path_rule::PathRule;
use super::path_variables::PathVariables;
use super::paths::Paths;
use super::url::query_of;
use super::variables::Variables;

/// What happens to a variable of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The application never sees it.
    Drop,
    /// It is passed on; of several the last one.
    Last,
    /// It is a request header; several become one value with this between them (RFC 9110 section 5.3).
    Join(&'static [u8]),
}

impl Rule {
    /// The rule for a variable's name.
    pub fn of(name: &[u8]) -> Self {
        // httpoxy (CVE-2016-5385): libraries take HTTP_PROXY for the operator's word. The two CONTENT_ ones are sent by
        // nginx and Caddy beside the real variables; wsgiref.validate refuses an environ with them.
        match name {
            b"" | b"HTTP_PROXY" | b"HTTP_CONTENT_LENGTH" | b"HTTP_CONTENT_TYPE" => Self::Drop,
            b"HTTP_COOKIE" => Self::Join(b"; "),
            // A request has one Host (RFC 9112 section 3.2). Where nginx sends it twice, a line of the configuration mends what the
            // included fastcgi_params says: Debian's leaves the port out.
            b"HTTP_HOST" => Self::Last,
            // The keys that are the gateway's own are not for a web server to set.
            _ if name.starts_with(b"wsgi.") => Self::Drop,
            _ if name.starts_with(b"HTTP_") => {
                let plain = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
                if name.iter().all(plain) {
                    Self::Join(b", ")
                } else {
                    Self::Drop
                }
            }
            _ => Self::Last,
        }
    }
}

/// The variables that decide something, as sent: the input of [`Request::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)] // each is the variable of its name
pub enum Meta {
    Authorization,
    ContentLength,
    ContentType,
    HttpHost,
    Https,
    PathInfo,
    QueryString,
    RedirectAuthorization,
    RedirectRedirectAuthorization,
    RedirectUrl,
    RequestMethod,
    RequestScheme,
    RequestUri,
    ScriptFilename,
    ScriptName,
    ServerAddr,
    ServerName,
    ServerPort,
    ServerProtocol,
    ServerSoftware,
    TransferEncoding,
}

impl Meta {
    /// How many there are.
    pub const COUNT: usize = Self::NAMES.len();

    /// Their names, by number.
    pub const NAMES: [&'static [u8]; 21] = [
        b"HTTP_AUTHORIZATION",
        b"CONTENT_LENGTH",
        b"CONTENT_TYPE",
        b"HTTP_HOST",
        b"HTTPS",
        b"PATH_INFO",
        b"QUERY_STRING",
        b"REDIRECT_HTTP_AUTHORIZATION",
        b"REDIRECT_REDIRECT_HTTP_AUTHORIZATION",
        b"REDIRECT_URL",
        b"REQUEST_METHOD",
        b"REQUEST_SCHEME",
        b"REQUEST_URI",
        b"SCRIPT_FILENAME",
        b"SCRIPT_NAME",
        b"SERVER_ADDR",
        b"SERVER_NAME",
        b"SERVER_PORT",
        b"SERVER_PROTOCOL",
        b"SERVER_SOFTWARE",
        b"HTTP_TRANSFER_ENCODING",
    ];

    /// What was sent of each, by number: of several the last.
    pub fn sent_in(variables: &Variables) -> [Option<&[u8]>; Self::COUNT] {
        Self::NAMES.map(|name| variables.get(name))
    }

    /// Whether the application sees what [`Request`] makes of the variable instead of what was sent.
    pub fn is_worked_out(number: usize) -> bool {
        const AS_SENT: [Meta; 10] = [
            Meta::HttpHost,
            Meta::Https,
            Meta::RedirectAuthorization,
            Meta::RedirectRedirectAuthorization,
            Meta::RedirectUrl,
            Meta::RequestScheme,
            Meta::RequestUri,
            Meta::ScriptFilename,
            Meta::ServerAddr,
            Meta::ServerSoftware,
        ];
        number < Self::COUNT && !AS_SENT.iter().any(|&meta| meta as usize == number)
    }
}

/// What is known of a request beside its variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// Whether the transport itself marks where the body ends, so that a transfer coding, which is then undone, would
    /// mislead.
    pub unframed: bool,
    /// Whether the web server ran this program for the request (CGI), so that SCRIPT_NAME can be where it lies.
    pub by_program: bool,
    /// Where the operator says that the application lies.
    pub mount: Option<&'a Mount>,
}

/// A request's worked-out variables. `None`: the application does not see the variable at all.
#[derive(Debug)]
#[allow(missing_docs)] // each is the variable of its name
pub struct Request<'a> {
    pub authorization: Option<&'a [u8]>,
    /// In bytes; `None` when the web server did not say it in digits.
    pub content_length: Option<u64>,
    pub content_type: Option<&'a [u8]>,
    pub https: bool,
    pub path_info: Cow<'a, [u8]>,
    /// What made SCRIPT_NAME and PATH_INFO what they are.
    pub path_rule: PathRule,
    pub query_string: &'a [u8],
    pub request_method: &'a [u8],
    pub script_name: Cow<'a, [u8]>,
    pub server_name: &'a [u8],
    pub server_port: &'a [u8],
    pub server_protocol: &'a [u8],
    pub transfer_encoding: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Works the variables out of what was `sent`, by number.
    pub fn of(sent: &[Option<&'a [u8]>; Meta::COUNT], circumstances: Circumstances<'a>) -> Self {
        let get = |meta: Meta| sent[meta as usize];
        let filled = |meta: Meta| get(meta).filter(|value| !value.is_empty());
        let name_in = |meta: Meta| get(meta).map(without_port).filter(|name| !name.is_empty());
        // Not SERVER_PORT, not X-Forwarded-Proto: neither says what the client typed.
        let https = is_yes(get(Meta::Https))
            || get(Meta::RequestScheme).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
        let content_length = Self::content_length(get(Meta::ContentLength));
        let paths = Paths::of(
            &PathVariables {
                script_name: get(Meta::ScriptName).unwrap_or_default(),
                path_info: get(Meta::PathInfo),
                request_uri: get(Meta::RequestUri),
                script_filename: get(Meta::ScriptFilename).unwrap_or_default(),
                redirect_url: get(Meta::RedirectUrl).unwrap_or_default(),
                server_software: get(Meta::ServerSoftware).unwrap_or_default(),
                by_program: circumstances.by_program,
            },
            circumstances.mount,
        );
        Self {
            // Apache's `RewriteRule ... [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]` sets it empty where there is none,
            // and puts REDIRECT_ before it where the rule leads to another URL, twice where that has such a rule too.
            authorization: filled(Meta::Authorization)
                .or(filled(Meta::RedirectAuthorization))
                .or(filled(Meta::RedirectRedirectAuthorization))
                .or(get(Meta::Authorization)),
            content_length,
            content_type: filled(Meta::ContentType),
            https,
            path_info: paths.path_info,
            path_rule: paths.rule,
            // Left out by HAProxy where there is none, and by nginx where its configuration forgets it.
            query_string: get(Meta::QueryString)
                .or_else(|| query_of(get(Meta::RequestUri)?))
                .unwrap_or_default(),
            request_method: filled(Meta::RequestMethod).unwrap_or(b"GET"),
            script_name: paths.script_name,
            server_name: name_in(Meta::ServerName)
                .or_else(|| name_in(Meta::HttpHost))
                .or(filled(Meta::ServerAddr))
                .unwrap_or(b"localhost"),
            server_port: filled(Meta::ServerPort).unwrap_or(if https { b"443" } else { b"80" }),
            server_protocol: filled(Meta::ServerProtocol).unwrap_or(b"HTTP/1.0"),
            transfer_encoding: get(Meta::TransferEncoding).filter(|_| !circumstances.unframed),
        }
    }
}

impl Request<'_> {
    /// The length of the body that CONTENT_LENGTH announces, in bytes. Web servers send it empty, negative (Caddy) or
    /// not at all where they do not know.
    pub fn content_length(sent: Option<&[u8]>) -> Option<u64> {
        sent.and_then(decimal)
    }
}

/// Whether a variable such as HTTPS says yes.
fn is_yes(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| {
        [&b"on"[..], b"1", b"true", b"yes", b"https"]
            .iter()
            .any(|yes| value.eq_ignore_ascii_case(yes))
    })
}

/// A host without its ":port"; an IPv6 address keeps its brackets.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => {
            let name = &host[..colon];
            // "::1" has a colon and digits behind it too; only brackets or the lack of other colons tell.
            if name.ends_with(b"]") || !name.contains(&b':') {
                name
            } else {
                host
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::{Circumstances, Meta, Request, Rule, without_port};

    fn request(sent: &[(&'static str, &'static str)]) -> Request<'static> {
        let mut metas = [None; Meta::COUNT];
        for (name, value) in sent {
            let number = Meta::NAMES
                .iter()
                .position(|known| *known == name.as_bytes());
            metas[number.unwrap()] = Some(value.as_bytes());
        }
        let circumstances = Circumstances {
            unframed: true,
            ..Circumstances::default()
        };
        Request::of(&metas, circumstances)
    }

    #[test]
    fn every_variable_has_its_own_name() {
        assert_eq!(
            Meta::NAMES[Meta::Authorization as usize],
            b"HTTP_AUTHORIZATION"
        );
        assert_eq!(Meta::NAMES[Meta::RequestMethod as usize], b"REQUEST_METHOD");
        assert_eq!(
            Meta::NAMES[Meta::TransferEncoding as usize],
            b"HTTP_TRANSFER_ENCODING"
        );
        assert!(Meta::is_worked_out(Meta::PathInfo as usize));
        assert!(!Meta::is_worked_out(Meta::Https as usize));
        assert!(!Meta::is_worked_out(Meta::COUNT));
    }

    #[test]
    fn content_length_is_digits_or_unknown() {
        for (sent, length) in [("10", Some(10)), ("0010", Some(10)), ("0", Some(0))] {
            assert_eq!(request(&[("CONTENT_LENGTH", sent)]).content_length, length);
        }
        for sent in ["", "-1", "1 ", "x", "99999999999999999999"] {
            assert_eq!(request(&[("CONTENT_LENGTH", sent)]).content_length, None);
        }
    }

    #[test]
    fn https_is_said_by_https_then_by_the_scheme() {
        for (sent, https) in [
            (&[("HTTPS", "on")][..], true),
            (&[("HTTPS", "ON")], true),
            (&[("HTTPS", "1")], true),
            (&[("HTTPS", "true")], true),
            (&[("HTTPS", "https")], true),
            (&[("HTTPS", "yes")], true),
            (&[("HTTPS", "off")], false),
            (&[("HTTPS", "off"), ("REQUEST_SCHEME", "http")], false),
            (&[("HTTPS", ""), ("REQUEST_SCHEME", "https")], true),
            (&[("REQUEST_SCHEME", "https")], true),
            (&[("SERVER_PORT", "443")], false),
        ] {
            assert_eq!(request(sent).https, https, "{sent:?}");
        }
    }

    #[test]
    fn the_query_is_in_the_url_where_the_server_does_not_say_it() {
        for (sent, query) in [
            (&[("REQUEST_URI", "/a?b?c#d")][..], "b?c"),
            (&[("REQUEST_URI", "/a?b"), ("QUERY_STRING", "")], ""),
            (&[("REQUEST_URI", "/a?b"), ("QUERY_STRING", "c")], "c"),
            (&[("REQUEST_URI", "/a#b?c")], ""),
            (&[("REQUEST_URI", "/a")], ""),
            (&[], ""),
        ] {
            assert_eq!(request(sent).query_string, query.as_bytes(), "{sent:?}");
        }
    }

    #[test]
    fn the_server_has_a_name_and_a_port_whatever_is_missing() {
        let some = request(&[("SERVER_NAME", "a.example:8080"), ("SERVER_PORT", "8080")]);
        assert_eq!(some.server_name, b"a.example");
        assert_eq!(some.server_port, b"8080");
        let host = request(&[("SERVER_NAME", ""), ("HTTP_HOST", "b.example:81")]);
        assert_eq!(host.server_name, b"b.example");
        assert_eq!(host.server_port, b"80");
        let odd = request(&[
            ("SERVER_NAME", ":80"),
            ("HTTP_HOST", ":80"),
            ("SERVER_ADDR", "10.0.0.1"),
        ]);
        assert_eq!(odd.server_name, b"10.0.0.1");
        let none = request(&[("HTTPS", "on")]);
        assert_eq!(none.server_name, b"localhost");
        assert_eq!(none.server_port, b"443");
    }

    #[test]
    fn a_port_is_cut_off_names_and_addresses() {
        for (host, name) in [
            ("a:80", "a"),
            ("a", "a"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("a:", "a"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(without_port(host.as_bytes()), name.as_bytes());
        }
    }

    #[test]
    fn names_decide_what_passes() {
        for name in [
            "HTTP_PROXY",
            "HTTP_CONTENT_LENGTH",
            "HTTP_CONTENT_TYPE",
            "HTTP_X.DOT",
            "HTTP_x",
            "wsgi.input",
            "",
        ] {
            assert_eq!(Rule::of(name.as_bytes()), Rule::Drop, "{name}");
        }
        assert_eq!(Rule::of(b"HTTP_COOKIE"), Rule::Join(b"; "));
        assert_eq!(Rule::of(b"HTTP_X_DUP"), Rule::Join(b", "));
        assert_eq!(Rule::of(b"SCRIPT_NAME"), Rule::Last);
        assert_eq!(Rule::of(b"HTTP_HOST"), Rule::Last);
    }
}
