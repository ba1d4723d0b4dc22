//! What the operator has decided, read and checked: plain values, whoever said them and where. `cli` makes them, and no
//! floor below it knows of command lines; what a worker has to know of them travels to its process as JSON.

mod access_log;
mod by_bytes;
mod control;
mod launch;
mod origin;
mod script;
mod target;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use access_log::{
    AccessFormat, AccessLogSettings, AccessPart, LineTarget, Span, TimeForm, TimeUnit,
};
pub use control::{ControlChoice, ControlSettings, Operation, StatusForm};
pub use launch::{
    BUILD, CONTRACT, InterpreterChoice, Launch, LaunchError, ResponderLaunch, Transfer, Work,
    WorkerHandles,
};
pub use origin::{ConfigFile, Origin, SettingInForce, SettingOrigins};

pub use script::ScriptFile;
pub use tools::{ConfSettings, Extent, GetSettings, TrySettings, WebServer};

pub use target::{ApplicationSource, Target, TargetError, is_identifier};

use crate::gateway::Mount;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// One request by CGI.
    Cgi,
    /// FastCGI on sockets.
    Fastcgi,
    /// None: the application is imported, and it is said what would be served.
    Check,
    /// One request by CGI, which is explained.
    Explain,
    /// It is for standard input to tell.
    Unsaid,
}

/// What the program was started for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// To serve, or to look at what would be served.
    Serve(Box<Config>),
    /// To look at gateways that run, or to have them do something.
    Operate(Operation),
    /// To print a web server's configuration.
    Conf(Box<ConfSettings>),
    /// To make a request without a web server.
    Get(Box<GetSettings>),
    /// To run a web server and a gateway until they are interrupted.
    Try(Box<TrySettings>),
    /// To say which version this is.
    Version,
}

/// All that the program was told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The way in.
    pub door: Door,
    /// Where to listen.
    pub listen: ListenSettings,
    /// Where others may look at it.
    pub control: ControlSettings,
    /// Which processes there are.
    pub master: MasterSettings,
    /// What each of them does.
    pub worker: WorkerSettings,
    /// Whether the application is to live on between requests of CGI.
    pub persistent: bool,
    /// Whether 'check' shows settings, too, that nobody has told.
    pub shows_all: bool,
    /// All settings in force and where they were told; none for a CGI request, which is not to wait for that.
    pub in_force: Vec<SettingInForce>,
    /// The file of `--config`.
    pub file: Option<ConfigFile>,
    /// What is to be said about the settings when there is a log to say it in.
    pub warnings: Vec<String>,
    /// What to say where nothing tells the door: APP was rather meant for a command.
    pub mistyped: Option<String>,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Addresses, as they were written.
    pub bind: Vec<String>,
    /// Connections that may wait to be taken.
    pub backlog: i32,
    /// Permission bits of a Unix socket.
    pub socket_mode: u32,
    /// The user who owns a Unix socket, by name or number.
    pub socket_user: Option<String>,
    /// The group that owns a Unix socket, by name or number.
    pub socket_group: Option<String>,
}

/// How long a worker above the fewest may be without a request, where nobody says it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many processes serve FastCGI, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterSettings {
    /// The most workers; without it as many as there are CPUs, and no master where a web server starts this program.
    pub workers: Option<usize>,
    /// The fewest workers.
    pub min_workers: Option<usize>,
    /// How long a worker above the fewest may be without a request; without it [`IDLE_TIMEOUT`].
    pub idle_timeout: Option<Duration>,
    /// Whether workers are forked from a process that has imported the application.
    pub preload: bool,
    /// How long a worker may take until it is ready.
    pub startup_timeout: Duration,
    /// What becomes of what workers write to their standard output and error.
    pub worker_output: WorkerOutput,
    /// The file of the process id.
    #[serde(with = "by_bytes::optional_path")]
    pub pid: Option<PathBuf>,
    /// The user that workers run as, by name or number.
    pub user: Option<String>,
    /// The group that workers run as, by name or number.
    pub group: Option<String>,
    /// Whether workers may not gain privileges.
    pub no_new_privileges: bool,
    /// Permission bits that files made by the application do not get.
    pub umask: Option<u32>,
    /// Files that each process may have open.
    pub max_open_files: Option<u64>,
}

/// What a process has to know that runs the application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// The application, as it was named; empty where none is needed.
    pub app: OsString,
    /// How the gateway is called.
    pub gateway: String,
    /// Whether requests are explained, and no application answers.
    pub explain: bool,
    /// The user whose CGI programs pass on what they were started for, where that is where the requests come from.
    pub for_cgi: Option<u32>,
    /// The Python that it runs in.
    pub python: PythonSettings,
    /// The folder that every other path is seen from.
    #[serde(with = "by_bytes::optional_path")]
    pub chdir: Option<PathBuf>,
    /// Where the application lies in the site's URLs.
    #[serde(with = "by_bytes::mount")]
    pub mount: Option<Mount>,
    /// Whether error pages show tracebacks.
    pub debug: bool,
    /// What is logged.
    pub log: LogSettings,
    /// What is told of each request.
    pub access_log: AccessLogSettings,
    /// Application threads.
    pub threads: usize,
    /// What a responder bears.
    pub responder: ResponderSettings,
    /// How long things may take.
    pub times: TimeSettings,
    /// After how much it is replaced.
    pub recycling: RecyclingSettings,
    /// Whether changes of the application's files are a reload.
    pub reload: bool,
    /// Where the options were told, for errors that only who obeys one can find.
    pub origins: SettingOrigins,
}

/// Which Python, and what it finds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PythonSettings {
    /// The interpreter that was named: a path, or a name to look for in PATH.
    #[serde(with = "by_bytes::optional_path")]
    pub program: Option<PathBuf>,
    /// The virtual environment that was named.
    #[serde(with = "by_bytes::optional_path")]
    pub venv: Option<PathBuf>,
    /// Folders in front of `sys.path`, first first.
    #[serde(with = "by_bytes::paths")]
    pub path: Vec<PathBuf>,
}

/// How a process tells what goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogSettings {
    /// The least important messages that are told.
    pub level: log::LevelFilter,
    /// The gateway's name in them.
    pub name: String,
    /// What a message is; without it what whoever reads standard error wants.
    pub format: Option<LogFormat>,
    /// The file that they are appended to, from the folder of `--chdir`.
    #[serde(with = "by_bytes::optional_path")]
    pub file: Option<PathBuf>,
    /// Bytes after which the file gets another name and is begun anew: there are two at most. For a log that nobody
    /// looks after.
    pub limit: Option<u64>,
}

/// What a message of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A line that is a JSON object.
    Json,
    /// Lines for systemd's journal.
    Journal,
}

/// What becomes of what workers write to their standard output and error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerOutput {
    /// Lines of the log, under the worker's name.
    Tagged,
    /// Lines as they are.
    Raw,
}

/// What a FastCGI responder bears.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResponderSettings {
    /// Bytes of a request's body that are read before a thread is given to it.
    pub buffer: u64,
    /// Bytes of a request's variables.
    pub max_params: u64,
    /// Bytes of a request's body.
    pub max_body: Option<u64>,
    /// Bytes of memory for complete responses that web servers have not taken yet.
    pub max_unsent: u64,
    /// Open connections.
    pub max_connections: usize,
    /// Time for a request's variables to come whole.
    pub header_timeout: Duration,
    /// Time that a connection may be open without a request.
    pub idle_connection_timeout: Duration,
    /// Time for each wait within a body or a response.
    pub io_timeout: Duration,
    /// Hosts or networks that may connect over TCP, as they were written.
    pub allow: Option<String>,
}

/// How long things may take in a worker.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TimeSettings {
    /// A request, until it is answered in the application's place.
    pub request: Option<Duration>,
    /// A request that was interrupted when it had had that time, until its worker is replaced.
    pub kill_after: Duration,
    /// A request, until the log tells of it.
    pub slow: Option<Duration>,
    /// What is in flight when a worker is to end.
    pub grace: Duration,
}

/// After how much a worker is replaced.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RecyclingSettings {
    /// Requests.
    pub requests: Option<u64>,
    /// The most by which that is lessened by chance.
    pub jitter: u64,
    /// Time.
    pub lifetime: Option<Duration>,
    /// Bytes of resident memory.
    pub rss: Option<u64>,
}

impl Config {
    /// How the gateway is called: as it was said, else as its file of options is, its socket, or its application.
    pub fn name(&self) -> String {
        let stem = |path: &Path| {
            let stem = path.file_stem();
            stem.map(|stem| stem.to_string_lossy().into_owned())
        };
        let file = || self.file.as_ref().and_then(|file| stem(file.path()));
        let socket = || {
            let first = self.listen.bind.first()?;
            let path = first.strip_prefix("unix:").unwrap_or(first);
            path.starts_with(['/', '.'])
                .then(|| stem(Path::new(path)))?
        };
        let application = || {
            let name = self.worker.name();
            stem(Path::new(&name)).unwrap_or(name)
        };
        let told = self.control.name.clone();
        told.or_else(file)
            .or_else(socket)
            .unwrap_or_else(application)
    }

    /// An error that only who obeys an option can find, with where the option was told behind its name.
    pub fn with_origins(&self, error: &str) -> String {
        self.worker.origins.put_in(error)
    }
}

impl WorkerSettings {
    /// The application's name, for messages and for `ps`.
    pub fn name(&self) -> String {
        Path::new(&self.app).display().to_string()
    }
}
