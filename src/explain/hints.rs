//! What may be wrong with a set-up although this request does not show it, how to find out, and the line that would change it. Nothing of
//! it is said once it has been tried out.

use super::Gateway;
use super::query::Check;
use super::redact::readable;
use super::server::{Module, Server, is_set_handler};
use crate::gateway::{PathRule, Request, Variables};

/// One thing that cannot be seen.
pub(super) struct Hint {
    pub(super) text: String,
    /// The query to ask for the page with, to find out.
    pub(super) look: Option<&'static str>,
    /// The line to change if it is so.
    pub(super) change: String,
}

/// The largest body that mod_fcgid takes unless it is told otherwise, in bytes.
const FCGID_LIMIT: u64 = 128 * 1024;

/// All of them, for this web server.
pub(super) fn of(
    variables: &Variables,
    server: Server,
    request: &Request<'_>,
    gateway: Gateway<'_>,
) -> Vec<Hint> {
    let check = Check::of(variables);
    let mut found = Vec::new();
    if gateway.mount.is_none() {
        found.extend(mount(variables, server, request, gateway));
    }
    if request.authorization.is_none() && check != Some(Check::Authorization) {
        found.extend(authorization(server));
    }
    if server == Server::Nginx && check != Some(Check::Head) {
        found.push(Hint {
            text: "Unless it is told otherwise, nginx takes at most 4 KB of response headers: a large cookie or many headers become 502, and \
                   its log says 'upstream sent too big header'. If this page comes with ?check=head, it takes 12 KB."
                .to_owned(),
            look: Some("?check=head"),
            change: "fastcgi_buffer_size 32k; fastcgi_buffers 8 32k;".to_owned(),
        });
    }
    let is_large = request
        .content_length
        .is_some_and(|length| length > FCGID_LIMIT);
    if server == Server::Apache(Module::Fcgid) && !is_large {
        found.push(Hint {
            text: "Unless it is told otherwise, mod_fcgid refuses request bodies of more than 128 KB with 500, and the application never sees \
                   them. Send a larger file to this page: curl --data-binary @FILE URL"
                .to_owned(),
            look: None,
            change: "FcgidMaxRequestLen 1073741824".to_owned(),
        });
    }
    found
}

/// Where the application lies, where the variables leave two readings.
fn mount(
    variables: &Variables,
    server: Server,
    request: &Request<'_>,
    gateway: Gateway<'_>,
) -> Option<Hint> {
    let rule = request.path_rule;
    let is_at_root = request.script_name.is_empty();
    // Of those that cut the path anywhere, the mount would be this one.
    let is_one_segment = request
        .script_name
        .iter()
        .filter(|&&byte| byte == b'/')
        .count()
        == 1;
    let root = "If the application has the whole site, that is wrong: ask for the site's first page, /, to see it told there.";
    if server == Server::Apache(Module::ProxyFcgi) && is_set_handler(variables) && is_one_segment {
        return Some(Hint {
            text: format!(
                "SetHandler with 'proxy:' takes the first segment of the path for the application's, as it does not exist below DocumentRoot. {root}"
            ),
            look: None,
            change: "ProxyPass \"/\" \"unix:/run/wsgi-gateway.sock|fcgi://localhost/\"".to_owned(),
        });
    }
    if server == Server::Lighttpd && !gateway.by_program && is_one_segment {
        return Some(Hint {
            text: format!(
                "lighttpd puts the first segment of the path into SCRIPT_NAME where fastcgi.server is \"/\". {root}"
            ),
            look: None,
            change: "\"fix-root-scriptname\" => \"enable\"".to_owned(),
        });
    }
    let why = match (server, rule) {
        (Server::HAProxy, PathRule::WholePath) => {
            "HAProxy sends no PATH_INFO here: 'path-info' is not set, or did not match."
        }
        (Server::H2o, _) => {
            "h2o sends the same variables for an application that has the whole site and for one under a prefix (paths: \"/app\")."
        }
        (Server::Caddy, PathRule::AsSent) if is_at_root => {
            "Caddy sends the same variables for an application that has the whole site and for one under 'handle /app*' without 'split'."
        }
        (Server::Apache(Module::ProxyFcgi), PathRule::ProxyPass) if is_at_root => {
            "ProxyPass sends the same variables for an application that has the whole site and for one whose prefix is in the fcgi:// URL too \
             (ProxyPass /app fcgi://.../app)."
        }
        _ => return None,
    };
    Some(Hint {
        text: format!(
            "{why} The application is taken to have the whole site. If it is under a prefix, say so to the gateway."
        ),
        look: None,
        change: mount_of(&request.path_info),
    })
}

/// `--mount` with the first segment of a path, or an example.
pub(super) fn mount_of(path: &[u8]) -> String {
    let path = readable(path);
    let mut segments = path.split('/').skip(1);
    match (segments.next(), segments.next()) {
        (Some(first), Some(_)) if !first.is_empty() => format!("--mount /{first}"),
        // A file of the root's, or the root itself.
        _ => "--mount /app".to_owned(),
    }
}

/// Whether the header would arrive that applications check passwords and tokens by.
fn authorization(server: Server) -> Option<Hint> {
    let change = authorization_line(server)?;
    let server = match server {
        Server::HAProxy => "HAProxy",
        _ => "Apache",
    };
    Some(Hint {
        text: format!(
            "{server} keeps the Authorization header for itself unless it is told to pass it on, and applications that check passwords or \
             tokens themselves need it. With ?check=authorization a browser asks for a name and a password, and sends one."
        ),
        look: Some("?check=authorization"),
        change: change.to_owned(),
    })
}

/// The line that makes a web server pass the Authorization header on, if it takes one.
pub(super) fn authorization_line(server: Server) -> Option<&'static str> {
    match server {
        Server::Apache(_) => Some("CGIPassAuth On"),
        Server::HAProxy => Some("pass-header Authorization"),
        _ => None,
    }
}
