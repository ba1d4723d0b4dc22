//! What is wrong with a set-up, or will be one day: in a sentence, with the line that changes it.

use super::Gateway;
use super::server::{Module, Server};
use super::shown::readable;
use crate::gateway::{PathRule, Request, Rule, Variables};

/// One thing to know about the set-up.
pub(super) struct Finding {
    /// Whether something does not work; else it is to be known, in case it is needed.
    pub(super) is_wrong: bool,
    pub(super) text: String,
    /// The line to change, in the web server's configuration or the gateway's command.
    pub(super) change: Option<String>,
}

/// A request, and what was found about it.
struct Search<'a> {
    variables: &'a Variables,
    server: Server,
    request: &'a Request<'a>,
    gateway: Gateway<'a>,
    found: Vec<Finding>,
}

/// All findings, what is wrong first.
pub(super) fn of(
    variables: &Variables,
    server: Server,
    request: &Request<'_>,
    gateway: Gateway<'_>,
) -> Vec<Finding> {
    let mut search = Search {
        variables,
        server,
        request,
        gateway,
        found: Vec::new(),
    };
    search.mount();
    search.paths();
    search.names();
    search.host();
    search.authorization();
    search.limits();
    let mut found = search.found;
    found.sort_by_key(|finding| !finding.is_wrong);
    found
}

impl Search<'_> {
    fn wrong<'c>(&mut self, text: impl Into<String>, change: impl Into<Option<&'c str>>) {
        self.add(true, text.into(), change.into());
    }

    fn note<'c>(&mut self, text: impl Into<String>, change: impl Into<Option<&'c str>>) {
        self.add(false, text.into(), change.into());
    }

    fn add(&mut self, is_wrong: bool, text: String, change: Option<&str>) {
        self.found.push(Finding {
            is_wrong,
            text,
            change: change.map(str::to_owned),
        });
    }

    /// A variable that has something in it.
    fn filled(&self, name: &str) -> Option<&[u8]> {
        let value = self.variables.get(name.as_bytes());
        value.filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.variables.get(name.as_bytes()).is_some()
    }

    /// Where the application lies, where the variables do not tell.
    fn mount(&mut self) {
        if let Some(mount) = self.gateway.mount {
            if self.request.path_rule == PathRule::OutsideMount {
                let mount = readable(mount.prefix());
                self.wrong(
                    format!("This URL is not under {mount}/, which --mount names: the application never sees such requests."),
                    None,
                );
            }
            return;
        }
        let path = readable(&self.request.path_info);
        let first = path.split('/').nth(1).unwrap_or_default();
        let example = match path.matches('/').count() {
            // A file of the root's.
            0 | 1 => "--mount /app".to_owned(),
            _ => format!("--mount /{first}"),
        };
        let is_at_root = self.request.script_name.is_empty();
        let why = match (self.server, self.request.path_rule) {
            (Server::Nginx | Server::Unknown, PathRule::WholePath) => {
                "The web server sends no PATH_INFO, as nginx does with its stock parameters. The application is taken to be at \
                 the root; in a location such as /app/ the variables are the same, and the prefix would be missing in its URLs."
            }
            (Server::HAProxy, PathRule::WholePath) => {
                "HAProxy sends no PATH_INFO here: 'path-info' is not set, did not match, or matched nothing. The application is \
                 taken to be at the root."
            }
            (Server::H2o, _) => {
                "h2o sends the same variables for an application at the root and for one under a prefix (paths: \"/app\"). This one \
                 is taken to be at the root."
            }
            (Server::Caddy, PathRule::AsSent) if is_at_root => {
                "Caddy sends the same variables for an application at the root and for one under 'handle /app*'. This one is taken \
                 to be at the root."
            }
            (Server::Apache(Module::ProxyFcgi), PathRule::ProxyPass) if is_at_root => {
                "ProxyPass sends the same variables for an application at the root and for one whose prefix is in the fcgi:// URL \
                 too (ProxyPass /app fcgi://.../app). This one is taken to be at the root."
            }
            _ => return,
        };
        self.note(
            format!("{why} If it is under a prefix, say so to the gateway."),
            &*example,
        );
    }

    /// What is odd about the path's variables.
    fn paths(&mut self) {
        let script_name = self.filled("SCRIPT_NAME").unwrap_or_default().to_vec();
        let path_info = self.variables.get(b"PATH_INFO").map(<[u8]>::to_vec);
        let is_mounted = self.gateway.mount.is_some();
        if !self.has("REQUEST_URI") && self.server != Server::Small {
            let change = matches!(self.server, Server::Nginx | Server::Unknown)
                .then_some("fastcgi_param REQUEST_URI $request_uri;");
            self.wrong(
                "REQUEST_URI is not sent, so that what the web server made of the path cannot be compared with what was asked for.",
                change,
            );
        }
        if !script_name.is_empty() && !script_name.starts_with(b"/") {
            self.wrong(
                format!(
                    "SCRIPT_NAME '{}' does not begin with a slash.",
                    readable(&script_name)
                ),
                "fastcgi_param SCRIPT_NAME /app;",
            );
        }
        if self.request.path_rule == PathRule::Before && !script_name.is_empty() {
            self.note(
                format!(
                    "SCRIPT_NAME '{}' was sent, and the URL does not begin with it: the web server has rewritten the URL, or a proxy in \
                     front of it takes a prefix away. What stands before PATH_INFO in the URL is taken for the mount; in the second case, \
                     name the prefix that browsers see.",
                    readable(&script_name)
                ),
                &*format!("--mount {}", readable(&script_name)),
            );
        }
        if let Server::Apache(module) = self.server {
            let file = self.filled("SCRIPT_FILENAME").unwrap_or_default();
            let is_proxy = file.starts_with(b"proxy:");
            let is_script = is_proxy && !file.ends_with(&script_name);
            let encoded = path_info.as_deref().is_some_and(has_escape)
                && self.filled("REQUEST_URI").is_some_and(has_escape)
                && !script_name.is_empty();
            if module == Module::ProxyFcgi && encoded {
                self.wrong(
                    "PATH_INFO is still percent-encoded, and SCRIPT_NAME is cut at the wrong place: proxy-fcgi-pathinfo is set to 1.",
                    "SetEnvIf Request_URI . proxy-fcgi-pathinfo=unescape",
                );
            } else if module == Module::ProxyFcgi && is_script && path_info.is_some() && !is_mounted
            {
                self.note(
                    "SetHandler with 'proxy:' splits the path at the first file that is missing below DocumentRoot, which is wrong \
                     everywhere but below a file of the script's own name.",
                    "ProxyPass \"/\" \"unix:/run/wsgi-gateway/app.sock|fcgi://localhost/\"",
                );
            }
            if is_proxy {
                self.note(
                    "SCRIPT_FILENAME begins with 'proxy:': that is how mod_proxy_fcgi says where it leads. The gateway needs it for \
                     the mount and opens no file of that name.",
                    None,
                );
            }
        }
        if self.server == Server::Lighttpd && !self.gateway.by_program && !is_mounted {
            let is_one_segment = script_name.iter().filter(|&&byte| byte == b'/').count() == 1;
            if self.request.path_rule == PathRule::TrailingSlash || is_one_segment {
                self.note(
                    "lighttpd puts the first segment of the path into SCRIPT_NAME where fastcgi.server is \"/\". If the application is at \
                     the root, that is wrong.",
                    "\"fix-root-scriptname\" => \"enable\"",
                );
            }
        }
    }

    /// Names that come twice, and names that are not passed on.
    fn names(&mut self) {
        let names: Vec<&[u8]> = self.variables.iter().map(|(name, _)| name).collect();
        let mut told: Vec<&[u8]> = Vec::new();
        let mut repeated = Vec::new();
        let mut odd = Vec::new();
        for (at, name) in names.iter().enumerate() {
            if told.contains(name) {
                continue;
            }
            let is_header = name.starts_with(b"HTTP_");
            if !is_header && Rule::of(name) == Rule::Last && names[at + 1..].contains(name) {
                told.push(name);
                repeated.push(readable(name));
            } else if is_header && Rule::of(name) == Rule::Drop && !is_known_drop(name) {
                told.push(name);
                odd.push(readable(name));
            }
        }
        if !repeated.is_empty() {
            let names = repeated.join(", ");
            let change = (self.server == Server::Nginx).then(|| {
                format!("# remove 'include fastcgi_params;' or the fastcgi_param lines of {names}")
            });
            self.note(
                format!("{names} came more than once: the last value counts. A line of the configuration says again what an included \
                         file says already."),
                change.as_deref(),
            );
        }
        if !odd.is_empty() {
            self.note(
                format!("{} has characters that no other web server lets into the name of a header: not passed on.", odd.join(", ")),
                None,
            );
        }
        if self.has("HTTP_PROXY") {
            let change = match self.server {
                Server::Nginx => Some("fastcgi_param HTTP_PROXY \"\";"),
                Server::Caddy => Some("request_header -Proxy"),
                _ => None,
            };
            self.note(
                "The client sent a Proxy header, which programs would take for their proxy (HTTP_PROXY, \"httpoxy\"). The gateway does not \
                 pass it on; other programs behind this web server may.",
                change,
            );
        }
    }

    /// The name and the scheme that the application builds its URLs with.
    fn host(&mut self) {
        let port = self.request.server_port.to_vec();
        let is_usual = port == b"80" || port == b"443";
        let host = self.filled("HTTP_HOST").map(<[u8]>::to_vec);
        let lacks_port = host.as_ref().is_some_and(|host| !host.contains(&b':'));
        if self.server == Server::Nginx && lacks_port && !is_usual {
            self.wrong(
                format!(
                    "HTTP_HOST has no port, though the web server listens on {}: Debian's fastcgi_params sets it from $host. URLs that the \
                     application builds lack the port.",
                    readable(&port)
                ),
                "fastcgi_param HTTP_HOST $http_host;",
            );
        }
        let forwarded = self.filled("HTTP_X_FORWARDED_PROTO");
        let says_https = forwarded.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
        if says_https && !self.request.https {
            let change = match self.server {
                Server::Nginx => "fastcgi_param HTTPS on;",
                Server::Apache(_) => "SetEnvIf X-Forwarded-Proto ^https$ HTTPS=on",
                Server::Lighttpd => "server.modules += (\"mod_extforward\")",
                _ => "HTTPS=on",
            };
            self.wrong(
                "X-Forwarded-Proto says https, and the web server says http: the application builds http:// URLs. The gateway believes the web \
                 server alone, since any client can send that header; if a proxy in front of it does, let the web server say so.",
                change,
            );
        }
        let has_user = self.filled("REMOTE_USER").is_some() && self.filled("AUTH_TYPE").is_none();
        if self.server == Server::Nginx && has_user {
            self.wrong(
                "REMOTE_USER comes without AUTH_TYPE: nginx takes it from the Authorization header that the client sent, and unless \
                 auth_basic is on nobody has checked the password. An application that trusts it lets everybody in.",
                "fastcgi_param REMOTE_USER \"\";",
            );
        }
    }

    fn authorization(&mut self) {
        if self.request.authorization.is_some() {
            return;
        }
        let (text, change) = match self.server {
            Server::Apache(_) => (
                "No Authorization header has arrived: Apache keeps it for itself unless it is told to pass it on. (It may be that the client \
                 sent none.) An application that checks passwords or tokens itself needs it.",
                "CGIPassAuth On",
            ),
            Server::HAProxy => (
                "No Authorization header has arrived: HAProxy keeps it for itself unless it is told to pass it on. (It may be that the \
                 client sent none.)",
                "pass-header Authorization",
            ),
            _ => return,
        };
        self.note(text, change);
    }

    /// What the web server will refuse one day.
    fn limits(&mut self) {
        match self.server {
            Server::Nginx => self.note(
                "nginx takes at most 4 KB of response headers: a large cookie or many headers become 502, and its log says 'upstream sent too \
                 big header'.",
                "fastcgi_buffer_size 32k; fastcgi_buffers 8 32k;",
            ),
            Server::Apache(Module::Fcgid) => self.note(
                "mod_fcgid refuses request bodies of more than 128 KB with 500 unless it is told otherwise, and the application never sees \
                 them.",
                "FcgidMaxRequestLen 1073741824",
            ),
            Server::Small if self.filled("HTTP_TRANSFER_ENCODING").is_some() => self.note(
                "The body comes in chunks, and this web server hands them to CGI programs as they are: the application sees no body.",
                None,
            ),
            _ => {}
        }
        let is_bodied = [&b"POST"[..], b"PUT", b"PATCH"].contains(&self.request.request_method);
        if self.gateway.by_program && is_bodied && self.filled("CONTENT_LENGTH").is_none() {
            self.note(
                "The web server does not say how long the body is. Nothing is read of it, unless it is Apache that says the body was chunked.",
                None,
            );
        }
    }
}

/// Whether there is a percent escape in it.
fn has_escape(path: &[u8]) -> bool {
    path.windows(3)
        .any(|part| part[0] == b'%' && part[1].is_ascii_hexdigit() && part[2].is_ascii_hexdigit())
}

/// The names that have a note of their own.
fn is_known_drop(name: &[u8]) -> bool {
    name == b"HTTP_PROXY" || name == b"HTTP_CONTENT_LENGTH" || name == b"HTTP_CONTENT_TYPE"
}
