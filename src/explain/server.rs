//! Which web server it is, and which way of configuring it, as far as the variables tell.

use crate::gateway::{PathRule, Variables};

/// The web servers that are known to send something in a way of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Apache(Module),
    Caddy,
    H2o,
    HAProxy,
    Lighttpd,
    Nginx,
    /// A small one that runs CGI programs.
    Small,
    Unknown,
}

/// The module of Apache's that speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    Cgi,
    Fcgid,
    ProxyFcgi,
}

impl Server {
    /// The web server that sends these variables. `by_program`: it runs a program for each request.
    pub(super) fn of(variables: &Variables, by_program: bool) -> Self {
        let software = variables.get(b"SERVER_SOFTWARE").unwrap_or_default();
        let is = |name: &str| {
            software
                .get(..name.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()))
        };
        if is("Apache") {
            let file = variables.get(b"SCRIPT_FILENAME").unwrap_or_default();
            // mod_fcgid says how long the body of a GET is: 0.
            let is_get = variables.get(b"REQUEST_METHOD") == Some(b"GET");
            let has_length = variables.get(b"CONTENT_LENGTH").is_some();
            Self::Apache(if by_program {
                Module::Cgi
            } else if file.starts_with(b"proxy:") || is_get && !has_length {
                Module::ProxyFcgi
            } else {
                Module::Fcgid
            })
        } else if is("nginx") || is("openresty") || is("angie") || is("freenginx") {
            Self::Nginx
        } else if is("lighttpd") {
            Self::Lighttpd
        } else if is("Caddy") {
            Self::Caddy
        } else if is("HAProxy") {
            Self::HAProxy
        } else if is("h2o") {
            Self::H2o
        } else if by_program {
            Self::Small
        } else {
            Self::Unknown
        }
    }

    /// The way of configuring it that this looks like.
    pub(super) fn setup(
        self,
        variables: &Variables,
        rule: PathRule,
        by_program: bool,
    ) -> &'static str {
        let get = |name: &str| variables.get(name.as_bytes());
        let file = get("SCRIPT_FILENAME").unwrap_or_default();
        let script_name = get("SCRIPT_NAME").unwrap_or_default();
        let path_info = get("PATH_INFO");
        let is_redirected = get("REDIRECT_URL").is_some();
        match self {
            Self::Apache(Module::Cgi) if is_redirected => {
                "mod_cgi or mod_cgid, a script that RewriteRule or FallbackResource leads to"
            }
            Self::Apache(Module::Cgi) => {
                "mod_cgi or mod_cgid (ScriptAlias, or AddHandler cgi-script)"
            }
            Self::Apache(Module::Fcgid) if is_redirected => {
                "mod_fcgid, a script that RewriteRule or FallbackResource leads to"
            }
            Self::Apache(Module::Fcgid) => "mod_fcgid",
            Self::Apache(Module::ProxyFcgi) if is_set_handler(variables) => {
                "mod_proxy_fcgi by SetHandler"
            }
            Self::Apache(Module::ProxyFcgi) if rule == PathRule::ProxyPass => {
                "mod_proxy_fcgi by ProxyPass"
            }
            Self::Apache(Module::ProxyFcgi) if file.starts_with(b"proxy:") => {
                "mod_proxy_fcgi by ProxyPass or SetHandler"
            }
            Self::Apache(Module::ProxyFcgi) => {
                "mod_proxy_fcgi with ProxyFCGIBackendType GENERIC or SetHandler"
            }
            Self::Nginx if by_program => "fastcgi_pass to fcgiwrap, which runs this program",
            Self::Nginx if path_info.is_none() && file.is_empty() => {
                "fastcgi_pass with 'include fastcgi_params' alone: no PATH_INFO"
            }
            Self::Nginx if path_info.is_none() => {
                "fastcgi_pass with 'include fastcgi.conf', or SCRIPT_FILENAME, as for PHP: no PATH_INFO"
            }
            Self::Nginx if script_name.is_empty() => {
                "fastcgi_pass with the whole path as PATH_INFO"
            }
            Self::Nginx => "fastcgi_pass with fastcgi_split_path_info, or a rewrite",
            Self::Lighttpd if by_program => "mod_cgi",
            Self::Lighttpd => "mod_fastcgi",
            Self::Caddy if script_name.ends_with(b".php") => "php_fastcgi",
            Self::Caddy => "reverse_proxy with 'transport fastcgi'",
            Self::HAProxy => "fcgi-app",
            Self::H2o => "fastcgi.connect or fastcgi.spawn",
            Self::Small => "a CGI program",
            Self::Unknown => "not known to this program",
        }
    }
}

/// Whether it is Apache's `SetHandler proxy:`, which looks the path up in the file system first: what `ProxyPass` makes of it has nothing
/// of the document root.
pub(super) fn is_set_handler(variables: &Variables) -> bool {
    let file = variables.get(b"SCRIPT_FILENAME").unwrap_or_default();
    let root = variables.get(b"DOCUMENT_ROOT").unwrap_or_default();
    if !file.starts_with(b"proxy:") || root.len() <= 1 {
        return false;
    }
    // As text, which is searched in a time that does not grow with both.
    let text = |bytes: &[u8]| -> String { bytes.iter().map(|&byte| char::from(byte)).collect() };
    text(file).contains(&text(root))
}
