//! The options of the commands for the first minute: `conf`, `get`, `try`.

use std::ffi::OsString;
use std::path::PathBuf;

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command};

use super::options::{DoorOptions, FastcgiOptions};
use super::values::time_limit;
use crate::config::{ConfSettings, Extent, GetSettings, TrySettings, WebServer};
use crate::gateway::Mount;

/// Which configuration is printed.
#[derive(Args, Clone, Debug)]
pub(super) struct ConfOptions {
    /// nginx, apache, lighttpd, caddy, haproxy or h2o.
    #[arg(value_name = "SERVER", value_parser = web_server)]
    pub server: WebServer,

    /// The application, for the gateway's command; with --cgi its file, which is started.
    #[arg(value_name = "APP")]
    pub app: Option<OsString>,

    /// The URL path that the application is at, as /shop: only what belongs to that path is printed.
    #[arg(long, value_name = "PREFIX", value_parser = Mount::parse)]
    pub mount: Option<Mount>,

    /// A URL path and the folder whose files the web server sends there itself, as /static=/srv/shop/static; may be given more than
    /// once.
    #[arg(long = "static", value_name = "PREFIX=DIR", action = ArgAction::Append, value_parser = static_files)]
    pub statics: Vec<(Mount, PathBuf)>,

    /// The gateway's address: unix:/path, /path, tcp:host:port or host:port [default: a socket in /run].
    #[arg(long, value_name = "ADDR", action = ArgAction::Append)]
    pub bind: Vec<String>,

    /// Where the web server listens [default: port 80].
    #[arg(long, value_name = "[HOST:]PORT", value_parser = listen)]
    pub listen: Option<(String, u16)>,

    /// CGI: the web server starts APP, a file, for each request (apache, lighttpd).
    #[arg(long)]
    pub cgi: bool,

    /// A whole configuration, for a web server that serves nothing else, and not what is added to one.
    #[arg(long)]
    pub whole: bool,

    /// The gateway's TOML file, for its bind, mount and app.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfOptions {
    pub(super) fn settings(self) -> ConfSettings {
        ConfSettings {
            server: self.server,
            app: self.app,
            mount: self.mount,
            statics: self.statics,
            bind: self.bind,
            listen: self.listen,
            cgi: self.cgi,
            extent: match self.whole {
                true => Extent::Whole,
                false => Extent::Part,
            },
        }
    }
}

/// Which request is made.
#[derive(Args, Clone, Debug)]
pub(super) struct GetOptions {
    /// The application, which is started for this request, or the address of a gateway that runs: unix:/path, /path or host:port.
    #[arg(value_name = "APP|ADDR")]
    pub target: OsString,

    /// What stands behind the host in the URL, as /shop?page=2.
    #[arg(value_name = "PATH", default_value = "/")]
    pub path: String,

    /// The method [default: GET; POST with --data].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub method: Option<String>,

    /// The body of the request; @FILE is what is in that file, @- what comes by standard input.
    #[arg(short = 'd', long, value_name = "DATA")]
    pub data: Option<OsString>,

    /// A header field, as 'Host: www.example.org'; may be given more than once.
    #[arg(short = 'H', long = "header", value_name = "HEADER", action = ArgAction::Append)]
    pub headers: Vec<String>,

    /// Show the head of the response, too.
    #[arg(short = 'i', long = "include")]
    pub with_head: bool,

    /// How long it may take in all.
    #[arg(short = 'm', long, value_name = "TIME", default_value = "60s", value_parser = time_limit)]
    pub max_time: Duration,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,

    /// What is for the gateway.
    #[arg(skip)]
    pub passed: Vec<OsString>,
}

impl GetOptions {
    pub(super) fn settings(self) -> GetSettings {
        GetSettings {
            target: self.target,
            path: self.path,
            method: self.method,
            data: self.data,
            headers: self.headers,
            with_head: self.with_head,
            max_time: self.max_time,
            passed: self.passed,
        }
    }
}

/// What runs until it is interrupted.
#[derive(Args, Clone, Debug)]
pub(super) struct TryOptions {
    /// nginx, apache, lighttpd, caddy, h2o or haproxy [default: the first of them that is installed].
    #[arg(long, value_name = "SERVER", value_parser = web_server)]
    pub server: Option<WebServer>,

    /// A URL path and the folder whose files the web server sends there itself, as /static=./static; may be given more than once.
    #[arg(long = "static", value_name = "PREFIX=DIR", action = ArgAction::Append, value_parser = static_files)]
    pub statics: Vec<(Mount, PathBuf)>,

    /// Where the web server listens [default: a free port of 127.0.0.1].
    #[arg(long, value_name = "[HOST:]PORT", value_parser = listen)]
    pub listen: Option<(String, u16)>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub fastcgi: FastcgiOptions,

    /// What is for the gateway.
    #[arg(skip)]
    pub passed: Vec<OsString>,
}

impl TryOptions {
    pub(super) fn settings(self) -> TrySettings {
        TrySettings {
            app: self.fastcgi.application.app,
            server: self.server,
            mount: self.fastcgi.application.general.mount,
            statics: self.statics,
            listen: self.listen,
            passed: self.passed,
        }
    }

    /// What no value says by itself.
    pub(super) fn check(&self, told_bind: bool) -> Result<(), String> {
        match told_bind {
            true => Err("'try' makes a socket of its own: leave --bind out, or use 'wsgi-gateway fastcgi' and 'wsgi-gateway conf'".to_owned()),
            false => Ok(()),
        }
    }
}

/// The options of the command line that `fastcgi` has as well, as they were written.
pub(super) fn passed_on(command: &Command, own: &Command, matches: &ArgMatches) -> Vec<OsString> {
    let known = command.find_subcommand("fastcgi");
    let is_known = |long: &str| {
        let mut options = known.into_iter().flat_map(Command::get_arguments);
        options.any(|option| option.get_long() == Some(long))
    };
    let mut words = Vec::new();
    for option in own.get_arguments() {
        let id = option.get_id().as_str();
        let Some(long) = option.get_long().filter(|long| is_known(long)) else {
            continue;
        };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            words.push(word);
        }
    }
    words
}

/// A web server by the word for it, or by its program's name.
fn web_server(text: &str) -> Result<WebServer, String> {
    let word = match text.to_ascii_lowercase().as_str() {
        "apache2" | "httpd" => "apache".to_owned(),
        word => word.to_owned(),
    };
    let mut all = WebServer::ALL.into_iter();
    all.find(|server| server.word() == word).ok_or_else(|| {
        let words: Vec<&str> = WebServer::ALL.map(WebServer::word).into();
        format!(
            "'{text}' is none of the web servers that there is a configuration for: {}",
            words.join(", ")
        )
    })
}

/// `/static=/srv/shop/static`.
fn static_files(text: &str) -> Result<(Mount, PathBuf), String> {
    let Some((prefix, folder)) = text
        .split_once('=')
        .filter(|(_, folder)| !folder.is_empty())
    else {
        return Err(format!(
            "'{text}' is no URL path and folder: write it as /static=/srv/shop/static"
        ));
    };
    let mount = Mount::parse(prefix).map_err(|error| error.to_string())?;
    if mount.prefix().is_empty() {
        return Err(format!(
            "'{text}' is all of the site: name a path, as in /static={folder}"
        ));
    }
    Ok((mount, folder.into()))
}

/// `80`, `127.0.0.1:8080` or `[::1]:8080`.
fn listen(text: &str) -> Result<(String, u16), String> {
    let bad =
        || format!("'{text}' is no port or host:port to listen on, such as 8080 or 127.0.0.1:8080");
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(bad)?,
        None if host.contains(':') => return Err(bad()),
        None => host,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_%".contains(&byte);
    match port.parse() {
        Ok(port) if port != 0 && host.bytes().all(is_name) => Ok((host.to_owned(), port)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::{listen, static_files, web_server};

    #[test]
    fn values_are_read_or_refused_in_a_sentence() {
        assert_eq!(web_server("Apache2").unwrap().word(), "apache");
        assert!(
            web_server("iis")
                .unwrap_err()
                .starts_with("'iis' is none of")
        );
        assert_eq!(listen("8080").unwrap(), (String::new(), 8080));
        assert_eq!(listen("[::1]:80").unwrap(), ("::1".to_owned(), 80));
        for bad in ["", "x", "0", "::1:80", "a b:80", "a;b:80", "[::1:80"] {
            assert!(listen(bad).unwrap_err().contains(&format!("'{bad}'")));
        }
        let (mount, folder) = static_files("/static/=/srv/a=b").unwrap();
        assert_eq!(
            (mount.prefix(), folder.to_str()),
            (&b"/static"[..], Some("/srv/a=b"))
        );
        for bad in ["", "/static", "/static=", "static=/srv", "/=/srv"] {
            assert!(static_files(bad).unwrap_err().contains("'"), "{bad}");
        }
    }
}
