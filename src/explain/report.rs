//! What there is to say about a request.

use super::Gateway;
use super::findings::{self, Finding};
use super::hints::{self, Hint};
use super::redact::{has_credentials, hidden, is_of_a_web_server, is_secret, readable};
use super::repeated::{Again, Repeated};
use super::server::Server;
use crate::gateway::{Circumstances, Meta, Mount, PathRule, Request, Rule, Variables};

/// The explanation of one request.
pub(super) struct Report<'a> {
    /// By which it came: CGI or FastCGI.
    pub(super) protocol: &'static str,
    pub(super) software: &'a [u8],
    pub(super) setup: &'static str,
    pub(super) request: Request<'a>,
    pub(super) mount: Option<&'a Mount>,
    /// The URL that the application can make of environ (PEP 3333, "URL Reconstruction").
    pub(super) url: Vec<u8>,
    /// The variables in the order sent.
    pub(super) variables: Vec<Variable<'a>>,
    /// How many were left out, since they are this process's own.
    pub(super) left_out: usize,
    /// Variables that the application sees although they were not sent.
    pub(super) added: Vec<(&'static str, Vec<u8>)>,
    pub(super) findings: Vec<Finding>,
    pub(super) hints: Vec<Hint>,
}

/// One variable as sent.
pub(super) struct Variable<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
    /// What became of it, where the application does not see it as it is.
    pub(super) note: Option<String>,
}

pub(super) enum Value<'a> {
    Shown(&'a [u8]),
    Hidden(String),
}

impl<'a> Report<'a> {
    pub(super) fn of(variables: &'a Variables, gateway: Gateway<'a>, unframed: bool) -> Self {
        let circumstances = Circumstances {
            unframed,
            by_program: gateway.by_program,
            mount: gateway.mount,
        };
        let sent = Meta::sent_in(variables);
        let request = Request::of(&sent, circumstances);
        let server = Server::of(variables, gateway.by_program);
        let all = variables.iter().count();
        let repeated = Repeated::of(variables);
        let shown: Vec<Variable<'a>> = variables
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| !gateway.by_program || is_of_a_web_server(name))
            .map(|(at, (name, value))| Variable {
                name,
                value: if is_secret(name) || !is_of_a_web_server(name) && has_credentials(value) {
                    Value::Hidden(hidden(name, value))
                } else {
                    Value::Shown(value)
                },
                note: note(repeated.at(at, name), name, value, &request),
            })
            .collect();
        Self {
            protocol: if gateway.by_program { "CGI" } else { "FastCGI" },
            software: variables.get(b"SERVER_SOFTWARE").unwrap_or_default(),
            setup: server.setup(variables, request.path_rule, gateway.by_program),
            mount: gateway.mount,
            url: url(variables, &request),
            left_out: all - shown.len(),
            variables: shown,
            added: added(variables, &request),
            findings: findings::of(variables, server, &request, gateway),
            hints: hints::of(variables, server, &request, gateway),
            request,
        }
    }

    /// How many things are wrong.
    pub(super) fn wrong(&self) -> usize {
        let wrong = self.findings.iter().filter(|finding| finding.is_wrong());
        wrong.count()
    }

    /// The whole in one sentence.
    pub(super) fn verdict(&self) -> String {
        let wrong: Vec<&str> = self
            .findings
            .iter()
            .filter_map(|finding| finding.wrong.as_deref())
            .collect();
        match wrong.len() {
            0 => "Nothing is wrong.".to_owned(),
            1 => format!("1 thing is wrong: {}.", wrong[0]),
            count => format!("{count} things are wrong: {}.", wrong.join("; ")),
        }
    }

    /// What the application sees of the path, and how that was found.
    pub(super) fn result(&self) -> [(&'static str, String); 4] {
        let quoted = |bytes: &[u8]| format!("'{}'", readable(bytes));
        [
            ("SCRIPT_NAME", quoted(&self.request.script_name)),
            ("PATH_INFO", quoted(&self.request.path_info)),
            ("URL", readable(&self.url)),
            ("because", self.rule().1.to_owned()),
        ]
    }

    /// Who has sent it, and what the gateway was told about it.
    pub(super) fn origin(&self) -> Vec<(&'static str, String)> {
        let software = match self.software {
            b"" => "does not say which it is".to_owned(),
            software => readable(software),
        };
        let mut rows = vec![
            ("web server", software),
            ("protocol", self.protocol.to_owned()),
            ("looks like", self.setup.to_owned()),
        ];
        let prefix = |mount: &Mount| format!("{}/", readable(mount.prefix()));
        rows.extend(self.mount.map(|mount| (mount.option(), prefix(mount))));
        rows
    }

    /// What made SCRIPT_NAME and PATH_INFO what they are: in a word for programs, and in a sentence.
    pub(super) fn rule(&self) -> (&'static str, &'static str) {
        match self.request.path_rule {
            PathRule::AsSent => ("as-sent", "They are what the web server has sent."),
            PathRule::EncodedSlash => (
                "slash-decoded",
                "Apache had left %2F in PATH_INFO as it was; it was decoded.",
            ),
            PathRule::Encoded => (
                "decoded",
                "PATH_INFO came with percent escapes (%20); they were decoded.",
            ),
            PathRule::Redirected => (
                "redirected",
                "The web server went from the URL to a script (RewriteRule, FallbackResource, an error page or an index file): the \
                 application is where the script's folder is.",
            ),
            PathRule::WholePath => (
                "whole-path",
                "The web server put the whole path into SCRIPT_NAME and sent no PATH_INFO: the application is taken to have the whole \
                 site.",
            ),
            PathRule::ProxyPass => (
                "proxy-pass",
                "ProxyPass put the whole path into SCRIPT_NAME; the end of SCRIPT_FILENAME tells how much of it belongs to PATH_INFO.",
            ),
            PathRule::TrailingSlash => (
                "trailing-slash",
                "SCRIPT_NAME was sent with a slash at its end, which belongs to PATH_INFO.",
            ),
            PathRule::Before => (
                "before-path-info",
                "PATH_INFO is the end of the URL's path, so SCRIPT_NAME is what stands before it there, and not what was sent.",
            ),
            PathRule::Whole => (
                "whole-url",
                "The web server sent no PATH_INFO that fits the URL, so PATH_INFO is the URL's whole path.",
            ),
            PathRule::NamedMount => (
                "named-prefix",
                "SCRIPT_NAME says where the application is, and PATH_INFO was the whole path or missing, so it is what REQUEST_URI has \
                 below that.",
            ),
            PathRule::StrippedPrefix => (
                "stripped-prefix",
                "SCRIPT_NAME names a prefix that the URL does not have: a proxy in front of the web server is taken to have removed it.",
            ),
            PathRule::ScriptName => (
                "script-name",
                "--script-name says what SCRIPT_NAME is, and the path that has come is below it.",
            ),
            PathRule::Mount => ("mount", "--mount says where the application is."),
            PathRule::OutsideMount => (
                "outside-mount",
                "The URL is not below what --mount names: the application is not called, and the answer is 404.",
            ),
        }
    }
}

/// Where a line is to be changed.
pub(super) fn place(line: &str) -> &'static str {
    match line.starts_with("--") {
        true => "In the gateway's command",
        false => "In the web server's configuration",
    }
}

/// What became of a variable.
fn note(
    repeated: Option<Again>,
    name: &[u8],
    value: &[u8],
    request: &Request<'_>,
) -> Option<String> {
    match Rule::of(name) {
        Rule::Drop if name == b"HTTP_PROXY" => {
            Some("not passed on: programs would take it for their proxy (CVE-2016-5385)".to_owned())
        }
        Rule::Drop if name.starts_with(b"HTTP_CONTENT_") => {
            Some("not passed on: the variable without HTTP_ is the one that counts".to_owned())
        }
        Rule::Drop => Some("not passed on: not the name of a variable".to_owned()),
        _ if name == b"SCRIPT_FILENAME" && value.starts_with(b"proxy:") => Some(
            "'proxy:' is how mod_proxy_fcgi says where it leads: the gateway needs it for the mount, and opens no file of that name"
                .to_owned(),
        ),
        Rule::Join(_) if repeated.is_some() => Some("joined into one value".to_owned()),
        _ if repeated == Some(Again::Below) => Some("not passed on: sent again below".to_owned()),
        _ => {
            let seen = seen(name, request)?;
            match seen {
                Some(seen) if seen == value => None,
                Some(_) if is_secret(name) => Some("the application sees another value".to_owned()),
                Some(seen) => Some(format!(
                    "the application sees '{}'",
                    readable(&seen)
                )),
                None => Some("not passed on".to_owned()),
            }
        }
    }
}

/// What the application sees of a variable that is worked out: `None` when it is none of those.
fn seen(name: &[u8], request: &Request<'_>) -> Option<Option<Vec<u8>>> {
    let some = |value: &[u8]| Some(value.to_vec());
    Some(match name {
        b"SCRIPT_NAME" => some(&request.script_name),
        b"PATH_INFO" => some(&request.path_info),
        b"QUERY_STRING" => some(request.query_string),
        b"REQUEST_METHOD" => some(request.request_method),
        b"SERVER_NAME" => some(request.server_name),
        b"SERVER_PORT" => some(request.server_port),
        b"SERVER_PROTOCOL" => some(request.server_protocol),
        b"CONTENT_LENGTH" => request
            .content_length
            .map(|length| length.to_string().into_bytes()),
        b"CONTENT_TYPE" => request.content_type.and_then(some),
        b"HTTP_AUTHORIZATION" => request.authorization.and_then(some),
        b"HTTP_TRANSFER_ENCODING" => request.transfer_encoding.and_then(some),
        _ => return None,
    })
}

fn added(variables: &Variables, request: &Request<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let scheme = if request.https { "https" } else { "http" };
    let worked_out = [
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "REQUEST_METHOD",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
        "HTTP_AUTHORIZATION",
    ];
    let mut added: Vec<(&'static str, Vec<u8>)> = worked_out
        .into_iter()
        .filter(|name| variables.get(name.as_bytes()).is_none())
        .filter_map(|name| {
            let seen = seen(name.as_bytes(), request)??;
            let value = match is_secret(name.as_bytes()) {
                true => hidden(name.as_bytes(), &seen).into_bytes(),
                false => seen,
            };
            Some((name, value))
        })
        .collect();
    added.push(("wsgi.url_scheme", scheme.into()));
    added
}

fn url(variables: &Variables, request: &Request<'_>) -> Vec<u8> {
    let (scheme, usual) = if request.https {
        ("https", &b"443"[..])
    } else {
        ("http", &b"80"[..])
    };
    let mut url = format!("{scheme}://").into_bytes();
    match variables.get(b"HTTP_HOST").filter(|host| !host.is_empty()) {
        Some(host) => url.extend_from_slice(host),
        None => {
            url.extend_from_slice(request.server_name);
            if request.server_port != usual {
                url.push(b':');
                url.extend_from_slice(request.server_port);
            }
        }
    }
    for &byte in request.script_name.iter().chain(&*request.path_info) {
        let is_plain = byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
        if is_plain {
            url.push(byte);
        } else {
            url.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    if !request.query_string.is_empty() {
        url.push(b'?');
        url.extend_from_slice(request.query_string);
    }
    url
}
