//! What a request shows to be wrong with the set-up, or not as it might be: in a sentence, with the line that changes it. What it cannot
//! show is in `hints`.

use super::Gateway;
use super::hints::{authorization_line, mount_of};
use super::query::Check;
use super::redact::readable;
use super::repeated::Repeated;
use super::server::{Module, Server, is_set_handler};
use crate::gateway::{PathRule, Request, Rule, Variables};

/// One thing to know about the set-up.
pub(super) struct Finding {
    /// What does not work, in a few words; without it this is to be known, in case it is needed.
    pub(super) wrong: Option<String>,
    pub(super) text: String,
    /// The line to change, in the web server's configuration or the gateway's command.
    pub(super) change: Option<String>,
}

impl Finding {
    pub(super) fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }
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
    search.bodies();
    let mut found = search.found;
    found.sort_by_key(|finding| !finding.is_wrong());
    found
}

impl Search<'_> {
    fn wrong<'c>(
        &mut self,
        wrong: impl Into<String>,
        text: impl Into<String>,
        change: impl Into<Option<&'c str>>,
    ) {
        self.add(Some(wrong.into()), text.into(), change.into());
    }

    fn note<'c>(&mut self, text: impl Into<String>, change: impl Into<Option<&'c str>>) {
        self.add(None, text.into(), change.into());
    }

    fn add(&mut self, wrong: Option<String>, text: String, change: Option<&str>) {
        self.found.push(Finding {
            wrong,
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

    /// Where the application lies, where the web server could tell and does not.
    fn mount(&mut self) {
        if let Some(mount) = self.gateway.mount {
            if self.request.path_rule == PathRule::OutsideMount {
                let mount = readable(mount.prefix());
                self.wrong(
                    format!("this URL is not below {mount}/"),
                    format!("This URL is not under {mount}/, which --mount names: the application never sees such requests."),
                    None,
                );
            }
            return;
        }
        let is_known = !matches!(self.server, Server::Nginx | Server::Unknown);
        if is_known || self.request.path_rule != PathRule::WholePath {
            return;
        }
        self.note(
            "The web server sends no PATH_INFO, as nginx does with its stock parameters. The application is taken to have the whole site; in a \
             location such as /app/ the variables are the same, and the prefix would be missing in its URLs. If it is under a prefix, say \
             so to the gateway.",
            &*mount_of(&self.request.path_info),
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
                "REQUEST_URI is not sent",
                "REQUEST_URI is not sent, so that what the web server made of the path cannot be compared with what was asked for.",
                change,
            );
        }
        if !script_name.is_empty() && !script_name.starts_with(b"/") {
            self.wrong(
                "SCRIPT_NAME does not begin with a slash",
                format!(
                    "SCRIPT_NAME '{}' does not begin with a slash.",
                    readable(&script_name)
                ),
                "fastcgi_param SCRIPT_NAME /app;",
            );
        }
        let is_encoded = self.server == Server::Apache(Module::ProxyFcgi)
            && path_info.as_deref().is_some_and(has_escape)
            && self.filled("REQUEST_URI").is_some_and(has_escape)
            && !script_name.is_empty();
        if self.request.path_rule == PathRule::Before && !script_name.is_empty() && !is_encoded {
            self.note(
                format!(
                    "SCRIPT_NAME '{}' was sent, and the URL does not begin with it: the web server has rewritten the URL, or a proxy in \
                     front of it takes a prefix away. What stands before PATH_INFO in the URL is taken for the prefix; in the second case, \
                     name the prefix that browsers see.",
                    readable(&script_name)
                ),
                &*format!("--script-name {}", readable(&script_name)),
            );
        }
        if self.request.path_rule == PathRule::StrippedPrefix {
            self.note(
                format!(
                    "SCRIPT_NAME '{}' was sent, and the URL does not begin with it: a proxy in front is taken to have taken it away. If a \
                     rewrite led there, the application's links are wrong (--mount / for the whole site); if not, this says it exactly.",
                    readable(&script_name)
                ),
                &*format!("--script-name {}", readable(&script_name)),
            );
        }
        if matches!(self.server, Server::Apache(_)) {
            let is_at_once = path_info.is_none() && script_name == b"/";
            if is_encoded {
                self.wrong(
                    "the path is still percent-encoded",
                    "PATH_INFO is still percent-encoded, and SCRIPT_NAME is cut at the wrong place: proxy-fcgi-pathinfo is set to 1.",
                    "SetEnvIf Request_URI . proxy-fcgi-pathinfo=unescape",
                );
            } else if is_set_handler(self.variables) && is_at_once && !is_mounted {
                self.wrong(
                    "the first segment of each path is lost",
                    "SetHandler with 'proxy:' splits the path at the first file that is missing below DocumentRoot: for an application \
                     that has the whole site, the first segment of each path would be missing.",
                    "ProxyPass \"/\" \"unix:/run/wsgi-gateway.sock|fcgi://localhost/\"",
                );
            }
        }
        let is_cut_late = self.request.path_rule == PathRule::TrailingSlash && !is_mounted;
        if self.server == Server::Lighttpd && !self.gateway.by_program && is_cut_late {
            // At other URLs the variables could be right: `hints`.
            if script_name == b"/" {
                self.wrong(
                    "the path is cut at the wrong place",
                    "lighttpd puts the first segment of the path into SCRIPT_NAME where fastcgi.server is \"/\": the application would be \
                     somewhere else for each path.",
                    "\"fix-root-scriptname\" => \"enable\"",
                );
            } else {
                let path = readable(script_name.strip_suffix(b"/").unwrap_or(&script_name));
                self.wrong(
                    "the path is cut at the wrong place",
                    format!(
                        "lighttpd puts the next segment of the path into SCRIPT_NAME, too, where a path of fastcgi.server ends in a slash \
                         (\"{path}/\"): the application would be somewhere else for each path."
                    ),
                    &*format!("fastcgi.server = ( \"{path}\" => (("),
                );
            }
        }
    }

    /// Names that come twice, and names that are not passed on.
    fn names(&mut self) {
        let places = Repeated::of(self.variables);
        let mut repeated = Vec::new();
        let mut odd = Vec::new();
        for (at, (name, _)) in self.variables.iter().enumerate() {
            let is_header = name.starts_with(b"HTTP_");
            if !is_header && Rule::of(name) == Rule::Last && places.is_first_of_many(at, name) {
                repeated.push(readable(name));
            } else if is_header
                && Rule::of(name) == Rule::Drop
                && !is_known_drop(name)
                && places.is_first(at, name)
            {
                odd.push(readable(name));
            }
        }
        // With nginx it is the way to say something else than its fastcgi_params.
        if !repeated.is_empty() && self.server != Server::Nginx {
            let names = repeated.join(", ");
            self.note(
                format!("{names} came more than once: the last value counts."),
                None,
            );
        }
        if !odd.is_empty() {
            self.note(
                format!("{} has characters that no other web server lets into the name of a header: not passed on.", odd.join(", ")),
                None,
            );
        }
        if self.filled("HTTP_PROXY").is_some() {
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
                "HTTP_HOST lacks the port",
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
                Server::Nginx => Some("fastcgi_param HTTPS on;"),
                Server::Apache(_) => Some("SetEnvIf X-Forwarded-Proto ^https$ HTTPS=on"),
                Server::Caddy => Some("env HTTPS on"),
                Server::HAProxy => Some("set-param HTTPS %[str(on)]"),
                Server::Lighttpd => Some(
                    "server.modules += ( \"mod_setenv\" ) \
                     $REQUEST_HEADER[\"X-Forwarded-Proto\"] == \"https\" { setenv.add-environment = ( \"HTTPS\" => \"on\" ) }",
                ),
                _ => None,
            };
            self.wrong(
                "the application is told http where the browser has https",
                "X-Forwarded-Proto says https, and the web server says http: the application builds http:// URLs. The gateway believes the web \
                 server alone, since any client can send that header; if a proxy in front of it does, let the web server say so.",
                change,
            );
        }
        let has_user = self.filled("REMOTE_USER").is_some();
        let has_type = self.filled("AUTH_TYPE").is_some();
        if self.server == Server::Nginx && has_user && !has_type {
            self.wrong(
                "nobody has checked REMOTE_USER",
                "REMOTE_USER comes without AUTH_TYPE: nginx takes it from the Authorization header that the client sent, and unless \
                 auth_basic is on nobody has checked the password. An application that trusts it lets everybody in. (With auth_basic, \
                 'fastcgi_param AUTH_TYPE Basic;' says that it was checked.)",
                "fastcgi_param REMOTE_USER \"\";",
            );
        }
        if self.server == Server::HAProxy && has_user {
            self.wrong(
                "nobody has checked REMOTE_USER",
                "HAProxy takes REMOTE_USER and AUTH_TYPE from the Authorization header that the client sent, and unless 'http-request \
                 auth' is on nobody has checked the password. An application that trusts them lets everybody in.",
                "set-param REMOTE_USER %[str()]",
            );
        }
    }

    /// Whether the header arrived that the client was asked for.
    fn authorization(&mut self) {
        let is_asked = Check::of(self.variables) == Some(Check::Authorization);
        if is_asked && self.request.authorization.is_none() {
            self.wrong(
                "no Authorization header arrives",
                "This page asks for a name and a password, and no Authorization header has arrived. If you were asked and gave some, the \
                 web server keeps it for itself: applications that check passwords or tokens themselves need it.",
                authorization_line(self.server),
            );
        }
    }

    /// What the application will not see of a body.
    fn bodies(&mut self) {
        if self.server == Server::Small && self.filled("HTTP_TRANSFER_ENCODING").is_some() {
            self.note(
                "The body comes in chunks, and this web server hands them to CGI programs as they are: the application sees no body.",
                None,
            );
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
