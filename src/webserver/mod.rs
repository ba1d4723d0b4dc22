//! What web servers are configured with to reach the gateway (`wsgi-gateway conf`): the files of `conf/`, compiled in, with the
//! operator's addresses, prefixes and folders in place of those that stand there. Writes text and does no I/O.
//!
//! `sample` knows how such a file is changed, `quote` how a value is written in each server's language, and a module for each server
//! what it needs and what it cannot do.

mod apache;
mod caddy;
mod h2o;
mod haproxy;
mod lighttpd;
mod nginx;
mod quote;
mod sample;

use std::path::PathBuf;

use thiserror::Error;

pub use quote::{shell, url};

use crate::config::{Extent, WebServer};

/// The site that a web server is configured for.
#[derive(Clone, Debug)]
pub struct ServedSite {
    /// The application's URL path, decoded: empty for the whole site, else with a slash in front and none at its end.
    pub mount: String,
    /// URL paths, as in `mount`, and the folders whose files the web server sends there itself.
    pub statics: Vec<(String, PathBuf)>,
    /// How the gateway is reached.
    pub reach: Reach,
    /// Where the web server listens; each server's own default without it.
    pub listen: Option<(String, u16)>,
    /// How much of a configuration is wanted.
    pub extent: Extent,
    /// The application as it was named, for the gateway's command.
    pub app: String,
    /// The gateway's address as it was named, for the same.
    pub bind: String,
    /// What a web server is to keep to that is started to try the application.
    pub trial: Option<Trial>,
}

/// A web server that leaves nothing behind.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The folder for all of its files.
    pub folder: String,
    /// The user and group that its processes become; they stay who they are without.
    pub user: Option<(String, String)>,
}

/// How a web server comes to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// FastCGI on the Unix socket of this absolute path.
    Unix(String),
    /// FastCGI on this host, an IPv6 address without its brackets, and port.
    Tcp(String, u16),
    /// CGI: this file is started for each request.
    Program(String),
}

/// What a web server cannot be told. One sentence with the value and the way out.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotConfigurable(String);

impl NotConfigurable {
    /// An error with this sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// The socket that the gateway is bound to where nobody says it.
pub fn usual_socket(server: WebServer, extent: Extent) -> &'static str {
    match (server, extent) {
        // Debian's configuration has a `chroot`, below which HAProxy looks for it.
        (WebServer::Haproxy, Extent::Part) => "unix:/var/lib/haproxy/wsgi-gateway.sock",
        _ => "unix:/run/wsgi-gateway.sock",
    }
}

/// The configuration, with where to put it in the comment that it begins with.
///
/// # Errors
/// What this server cannot do.
pub fn configuration(server: WebServer, site: &ServedSite) -> Result<String, NotConfigurable> {
    if let Reach::Program(_) = site.reach {
        if !matches!(server, WebServer::Apache | WebServer::Lighttpd) {
            return Err(NotConfigurable::new(format!(
                "{} starts no CGI programs: leave --cgi out, and start 'wsgi-gateway fastcgi' (apache and lighttpd do)",
                server.title()
            )));
        }
    }
    let (place, text) = match server {
        WebServer::Nginx => nginx::write(site)?,
        WebServer::Apache => apache::write(site)?,
        WebServer::Lighttpd => lighttpd::write(site)?,
        WebServer::Caddy => caddy::write(site)?,
        WebServer::Haproxy => haproxy::write(site)?,
        WebServer::H2o => h2o::write(site)?,
    };
    Ok(header(server, site, &place) + &text)
}

/// Where it goes, and what else there is to do.
fn header(server: WebServer, site: &ServedSite, place: &str) -> String {
    let mut lines = Vec::new();
    let at = match &*site.mount {
        "" => "has the whole site".to_owned(),
        mount => format!("is at {mount}"),
    };
    let title = server.title();
    lines.push(format!(
        "{title} in front of wsgi-gateway: {} {at}.",
        site.app
    ));
    lines.extend(place.lines().map(str::to_owned));
    if matches!(site.reach, Reach::Program(_)) {
        lines.push(format!(
            "{} starts the application; its user must be able to read it, and to enter all folders above it.",
            server.title()
        ));
    } else {
        lines.push("The gateway, which must run:".to_owned());
        lines.push(format!("    {}", command(server, site)));
    }
    for (_, folder) in &site.statics {
        let folder = folder.display();
        lines.push(format!(
            "The web server's user must be able to read {folder}, and to enter all folders above it."
        ));
    }
    let mut text = String::new();
    for line in lines {
        // A file's name may have a line's end in it, which would end the comment.
        text += &format!("# {}\n", line.replace(char::is_control, "?"));
    }
    text.push('\n');
    text
}

/// The gateway's command for this site.
fn command(server: WebServer, site: &ServedSite) -> String {
    let mut words = vec!["wsgi-gateway fastcgi --bind".to_owned(), shell(&site.bind)];
    if let Reach::Unix(_) = site.reach {
        words.push(format!("--socket-group {}", server.group()));
    }
    if !site.mount.is_empty() {
        words.push(format!("--mount {}", shell(&url(&site.mount))));
    }
    words.push(shell(&site.app));
    words.join(" ")
}

/// The name of what a configuration has to name for this site: that of the socket, so that two sites do not have the same.
fn name(site: &ServedSite) -> String {
    let stem = match &site.reach {
        Reach::Unix(path) => {
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split('.').next().unwrap_or_default().to_owned()
        }
        Reach::Tcp(_, port) => format!("wsgi_{port}"),
        Reach::Program(_) => String::new(),
    };
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = stem.chars().map(word).collect();
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name,
        false => "wsgi_gateway".to_owned(),
    }
}

/// A host and port as most configurations have them.
fn host_and_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
