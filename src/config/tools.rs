//! What the commands for the first minute are told: `conf`, `get`, `try`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::gateway::Mount;

/// A web server that can be told to ask the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say it")]
pub enum WebServer {
    Nginx,
    Apache,
    Lighttpd,
    Caddy,
    Haproxy,
    H2o,
}

impl WebServer {
    /// All of them; those that are found first are taken first.
    pub const ALL: [Self; 6] = [
        Self::Nginx,
        Self::Apache,
        Self::Lighttpd,
        Self::Caddy,
        Self::H2o,
        Self::Haproxy,
    ];

    /// The word for it on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache",
            Self::Lighttpd => "lighttpd",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::H2o => "h2o",
        }
    }

    /// Its name in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Apache => "Apache",
            Self::Caddy => "Caddy",
            Self::Haproxy => "HAProxy",
            _ => self.word(),
        }
    }

    /// The group that its processes run as where Debian's package has installed it.
    pub fn group(self) -> &'static str {
        match self {
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            _ => "www-data",
        }
    }
}

/// How much of a web server's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, for a web server that serves nothing else.
    Whole,
    /// What is added where it serves other sites, or other paths of the site.
    Part,
}

/// The web server's configuration that is wanted.
#[derive(Clone, Debug)]
pub struct ConfSettings {
    /// For which.
    pub server: WebServer,
    /// The application as it is named.
    pub app: Option<OsString>,
    /// Where it lies in the site's URLs.
    pub mount: Option<Mount>,
    /// URL paths and folders whose files the web server sends itself.
    pub statics: Vec<(Mount, PathBuf)>,
    /// The gateway's addresses, as they were written.
    pub bind: Vec<String>,
    /// Where the web server listens: the host (empty: everywhere) and the port.
    pub listen: Option<(String, u16)>,
    /// Whether it starts the application for each request.
    pub cgi: bool,
    /// How much of it.
    pub extent: Extent,
}

/// A request that is made without a web server.
#[derive(Clone, Debug)]
pub struct GetSettings {
    /// An application, which is started for it, or the address of a gateway that runs.
    pub target: OsString,
    /// What stands behind the host in the URL.
    pub path: String,
    /// The method; GET, or POST where there is a body, without it.
    pub method: Option<String>,
    /// The body, or `@` and the file that it is in.
    pub data: Option<OsString>,
    /// Header fields, as `Name: value`.
    pub headers: Vec<String>,
    /// Whether the head of the response is shown, too.
    pub with_head: bool,
    /// How long it may take in all.
    pub max_time: Duration,
    /// Options for the gateway that is started, as they were written.
    pub passed: Vec<OsString>,
}

/// A web server and a gateway that run until they are interrupted.
#[derive(Clone, Debug)]
pub struct TrySettings {
    /// The application.
    pub app: OsString,
    /// The web server; the first that is installed without it.
    pub server: Option<WebServer>,
    /// Where the application lies in the site's URLs.
    pub mount: Option<Mount>,
    /// URL paths and folders whose files the web server sends itself.
    pub statics: Vec<(Mount, PathBuf)>,
    /// Where the web server listens; a free port of this host's own address without it.
    pub listen: Option<(String, u16)>,
    /// Options for the gateway, as they were written.
    pub passed: Vec<OsString>,
}
