//! `conf`: prints what a web server is to be configured with.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{ConfSettings, WebServer};
use crate::exit::Exit;
use crate::gateway::Mount;
use crate::process::Address;
use crate::webserver::{self, NotConfigurable, Reach, ServedSite};

/// Prints it, or why there is none.
pub fn print(settings: &ConfSettings) -> ExitCode {
    match site(settings).and_then(|site| webserver::configuration(settings.server, &site)) {
        Ok(text) => {
            // Who does not read it does not want it.
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Fine.into()
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "wsgi-gateway: error: {error}");
            Exit::Usage.into()
        }
    }
}

/// What was asked for as the web servers need it.
fn site(settings: &ConfSettings) -> Result<ServedSite, NotConfigurable> {
    let server = settings.server;
    let mount = match &settings.mount {
        Some(mount) => prefix(mount)?,
        None => String::new(),
    };
    let statics = statics(&settings.statics)?;
    let app = match &settings.app {
        Some(app) => app
            .to_str()
            .ok_or_else(|| not_text("APP", app.as_ref()))?
            .to_owned(),
        None => "package.module:application".to_owned(),
    };
    let usual = webserver::usual_socket(server, settings.extent).to_owned();
    let bind = settings.bind.first().cloned().unwrap_or(usual);
    let reach = match settings.cgi {
        true => program(settings)?,
        false => reach(server, &bind)?,
    };
    Ok(ServedSite {
        mount,
        statics,
        reach,
        listen: settings.listen.clone(),
        extent: settings.extent,
        app,
        bind,
        trial: None,
    })
}

pub(super) fn prefix(mount: &Mount) -> Result<String, NotConfigurable> {
    String::from_utf8(mount.prefix().to_vec()).map_err(|error| {
        NotConfigurable::new(format!(
            "the URL path '{}' is not UTF-8, as configurations of web servers are: give it another name",
            error.as_bytes().escape_ascii()
        ))
    })
}

fn not_text(option: &str, path: &Path) -> NotConfigurable {
    NotConfigurable::new(format!(
        "{option}: the name '{}' is not UTF-8, as configurations of web servers are",
        path.display()
    ))
}

/// A path that is the same wherever the web server is started.
fn absolute(path: &str) -> Result<String, NotConfigurable> {
    let path = Path::new(path);
    let whole = std::path::absolute(path)
        .map_err(|error| NotConfigurable::new(format!("'{}': {error}", path.display())))?;
    let text = whole.to_str().ok_or_else(|| not_text("the path", &whole))?;
    Ok(match text.trim_end_matches('/') {
        "" => text.to_owned(),
        text => text.to_owned(),
    })
}

/// The URL paths and folders of files that the web server sends.
pub(super) fn statics(
    told: &[(Mount, PathBuf)],
) -> Result<Vec<(String, PathBuf)>, NotConfigurable> {
    let statics = told.iter().map(|(at, folder)| {
        let text = folder.to_str();
        let text = text.ok_or_else(|| not_text("--static", folder))?;
        Ok((prefix(at)?, absolute(text)?.into()))
    });
    statics.collect()
}

/// The file that is started for each request.
fn program(settings: &ConfSettings) -> Result<Reach, NotConfigurable> {
    let named = settings.app.as_ref().and_then(|app| app.to_str());
    let file = match named {
        Some(app) if app.contains('/') || Path::new(app).is_file() => app,
        _ => {
            let app = named.map_or(String::new(), |app| format!(", and '{app}' is none"));
            return Err(NotConfigurable::new(format!(
                "--cgi starts a file{app}: name one as APP, such as /srv/site/app.cgi, whose first line is \
                 #!/usr/local/bin/wsgi-gateway --persistent"
            )));
        }
    };
    Ok(Reach::Program(absolute(file)?))
}

/// How a web server reaches what is bound to an address.
fn reach(server: WebServer, bind: &str) -> Result<Reach, NotConfigurable> {
    let address: Address = bind
        .parse()
        .map_err(|error| NotConfigurable::new(format!("--bind: {error}")))?;
    let title = server.title();
    match address {
        Address::Unix(path) => {
            let text = path.to_str().ok_or_else(|| not_text("--bind", &path))?;
            Ok(Reach::Unix(absolute(text)?))
        }
        Address::Abstract(name) => Err(NotConfigurable::new(format!(
            "{title} cannot connect to unix:@{name}, a socket without a file: give --bind unix:/path or host:port"
        ))),
        Address::Tcp(_, 0) => Err(NotConfigurable::new(format!(
            "'{bind}' is any free port, which {title} cannot know: name one, such as 127.0.0.1:9000"
        ))),
        Address::Tcp(host, port) => Ok(match &*host {
            // All of this host's addresses are nothing to connect to.
            "0.0.0.0" => Reach::Tcp("127.0.0.1".to_owned(), port),
            "::" => Reach::Tcp("::1".to_owned(), port),
            _ => Reach::Tcp(host, port),
        }),
        Address::Fd(_) | Address::Systemd => Err(NotConfigurable::new(format!(
            "'{bind}' does not say where {title} is to connect: give --bind the socket's own address, such as \
             unix:/run/wsgi-gateway/shop.sock"
        ))),
    }
}
