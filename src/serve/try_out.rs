//! `try`: the web server that is installed, and the gateway with the application behind it, until they are interrupted.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::conf::{prefix, statics};
use super::installed::{Installed, ServerFolder, user};
use super::own_gateway::OwnGateway;
use crate::config::{Extent, TrySettings, WebServer};
use crate::exit::Exit;
use crate::process::{self, Attended, Catch, Signal, Signals, wait_readable};
use crate::webserver::{NotConfigurable, Reach, ServedSite, configuration};

/// How often is looked whether what was started is there.
const STEP: Duration = Duration::from_millis(10);

/// How long a connection to the web server may take to be answered, and the web server to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often another free port is taken where the first was taken meanwhile.
const PORTS: usize = 5;

/// Why nothing is served, or not any more.
#[derive(Debug, Error)]
enum TryError {
    #[error(transparent)]
    NotConfigurable(#[from] NotConfigurable),
    #[error(
        "no web server is installed: apt-get install nginx (or apache2, lighttpd, caddy, h2o, haproxy)"
    )]
    NoServer,
    #[error(
        "{0} is not installed: apt-get install {1}; without --server the one that is there is taken"
    )]
    NotInstalled(&'static str, &'static str),
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    #[error("{server} has ended{how}; it says:\n{log}")]
    ServerEnded {
        server: &'static str,
        how: String,
        log: String,
    },
    #[error("{0} does not answer at {1}")]
    Silent(&'static str, String),
    /// It has said why itself.
    #[error("the gateway has ended")]
    GatewayEnded(i32),
    /// As it was asked to.
    #[error("interrupted")]
    Interrupted,
}

/// Serves until it is interrupted.
pub fn try_out(settings: &TrySettings) -> ExitCode {
    match serve(settings) {
        Ok(()) | Err(TryError::Interrupted) => Exit::Fine.into(),
        Err(TryError::GatewayEnded(code)) => match Exit::from_code(code) {
            // Nobody has asked it to.
            Exit::Fine => Exit::Failed.into(),
            exit => exit.into(),
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "wsgi-gateway: error: {error}");
            match error {
                TryError::NotConfigurable(_) => Exit::Usage.into(),
                _ => Exit::Failed.into(),
            }
        }
    }
}

/// The web server that is wanted, or else the first that is there and can do what is asked of it.
fn installed(settings: &TrySettings) -> Result<Installed, TryError> {
    let all = match settings.server {
        Some(server) => vec![server],
        None => WebServer::ALL.into(),
    };
    let suits = |server: &WebServer| {
        let sends_files = *server != WebServer::Haproxy || settings.statics.is_empty();
        sends_files || settings.server.is_some()
    };
    let found = all.into_iter().filter(suits).find_map(Installed::find);
    found.ok_or_else(|| match settings.server {
        Some(server) => TryError::NotInstalled(server.title(), Installed::programs(server)[0]),
        None => TryError::NoServer,
    })
}

/// What was started, the web server first, which is also the first to end.
struct Started {
    server: Attended,
    title: &'static str,
    log: PathBuf,
    gateway: OwnGateway,
}

fn serve(settings: &TrySettings) -> Result<(), TryError> {
    let installed = installed(settings)?;
    let mut signals = Signals::catch(Catch::All)
        .map_err(|error| TryError::System("signals cannot be caught", error))?;
    let user = user();
    let group = user.as_ref().map(|user| user.group.as_str());
    let mut gateway = OwnGateway::start(&settings.app, &settings.passed, &["--control=off"], group)
        .map_err(|error| TryError::System("the gateway cannot be started", error))?;
    while !gateway.is_ready() {
        look(&mut signals, &mut gateway)?;
        std::thread::sleep(STEP);
    }
    let mut site = ServedSite {
        mount: settings
            .mount
            .as_ref()
            .map(prefix)
            .transpose()?
            .unwrap_or_default(),
        statics: statics(&settings.statics)?,
        reach: Reach::Unix(gateway.socket().display().to_string()),
        listen: None,
        extent: Extent::Whole,
        app: Path::new(&settings.app).display().to_string(),
        bind: format!("unix:{}", gateway.socket().display()),
        trial: None,
    };
    let folder = ServerFolder::make(installed, gateway.folder(), settings.listen.as_ref(), user)
        .map_err(|error| TryError::System("the web server cannot be started", error))?;
    site.trial = Some(folder.trial());
    let (mut started, url) = start(&folder, settings, &mut site, gateway, &mut signals)?;
    let text = format!(
        "{} ({}) serves {}, with all that was started in {}: Ctrl-C ends it and removes that.\n{url}\n",
        folder.server().title(),
        folder.program().display(),
        site.app,
        started.gateway.folder().display()
    );
    // Who does not read it does not want it.
    let _ = io::stdout().write_all(text.as_bytes());
    let _ = io::stdout().flush();
    loop {
        wait_readable(&signals, None, None);
        started.look(&mut signals)?;
    }
}

impl Started {
    /// Whether all goes on.
    fn look(&mut self, signals: &mut Signals) -> Result<(), TryError> {
        look(signals, &mut self.gateway)?;
        match self.server.ended() {
            None => Ok(()),
            Some(status) => Err(TryError::ServerEnded {
                server: self.title,
                how: match process::code(status) {
                    code @ 0.. => format!(" with exit code {code}"),
                    code => format!(" by signal {}", -code),
                },
                log: tail(&self.log),
            }),
        }
    }
}

/// Whether the gateway goes on, and nobody has said that this is to end.
fn look(signals: &mut Signals, gateway: &mut OwnGateway) -> Result<(), TryError> {
    while let Some(signal) = signals.read() {
        if matches!(
            signal,
            Signal::Terminate | Signal::Interrupt | Signal::Reload
        ) {
            return Err(TryError::Interrupted);
        }
    }
    match gateway.ended() {
        Some(status) => Err(TryError::GatewayEnded(process::code(status))),
        None => Ok(()),
    }
}

/// The end of what the web server has written.
fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Starts the web server and waits until the application has answered through it.
fn start(
    folder: &ServerFolder,
    settings: &TrySettings,
    site: &mut ServedSite,
    mut gateway: OwnGateway,
    signals: &mut Signals,
) -> Result<(Started, String), TryError> {
    let server = folder.server();
    let system = |error| TryError::System("the web server cannot be started", error);
    for attempt in 1.. {
        let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
        let listen = match &settings.listen {
            Some(listen) => listen.clone(),
            None => ("127.0.0.1".to_owned(), free().map_err(system)?.port()),
        };
        site.listen = Some(listen.clone());
        let conf = configuration(server, site)?;
        let (command, log) = folder.command(&conf).map_err(system)?;
        let mut started = Started {
            server: Attended::start(command).map_err(system)?,
            title: server.title(),
            log,
            gateway,
        };
        match started.wait_for_answer(&listen, site, signals) {
            Ok(url) => return Ok((started, url)),
            // Somebody else has taken the port meanwhile.
            Err(TryError::ServerEnded { log, .. })
                if log.to_lowercase().contains("address already in use")
                    && settings.listen.is_none()
                    && attempt < PORTS =>
            {
                gateway = started.gateway;
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}

impl Started {
    /// The application's URL, as soon as a request to it is answered.
    fn wait_for_answer(
        &mut self,
        (host, port): &(String, u16),
        site: &ServedSite,
        signals: &mut Signals,
    ) -> Result<String, TryError> {
        let host = match host.as_str() {
            "" | "0.0.0.0" | "::" => "127.0.0.1",
            host => host,
        };
        let shown = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        let mount = crate::webserver::url(&site.mount);
        let url = format!("http://{shown}:{port}{mount}/");
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.look(signals)?;
            let asked = TcpStream::connect((host, *port)).and_then(|mut stream| {
                write!(
                    stream,
                    "GET {mount}/ HTTP/1.1\r\nHost: {shown}:{port}\r\nConnection: close\r\n\r\n"
                )?;
                stream.set_read_timeout(Some(STEP))?;
                Ok(stream)
            });
            if let Ok(stream) = asked {
                if self.answers(stream, until, signals)? {
                    return Ok(url);
                }
            }
            std::thread::sleep(STEP);
        }
        Err(TryError::Silent(self.title, url))
    }

    /// Whether an answer begins to come. The application may take its time for the first.
    fn answers(
        &mut self,
        mut stream: TcpStream,
        until: Instant,
        signals: &mut Signals,
    ) -> Result<bool, TryError> {
        let mut byte = [0];
        while Instant::now() < until {
            self.look(signals)?;
            match stream.read(&mut byte) {
                Ok(count) => return Ok(count > 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}
