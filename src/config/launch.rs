//! What the program tells the Python that it becomes: what to do there, and by which numbers it has inherited what it needs.

use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::by_bytes;
use super::{MasterSettings, WorkerSettings};

/// A word for what this program and the cores have in common: those that have another do not fit.
pub const CONTRACT: &str = env!("WSGI_GATEWAY_CONTRACT");

/// The version, and a word for the sources without the core's.
pub const BUILD: &str = env!("WSGI_GATEWAY_BUILD");

/// What a process is to do in Python.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The build of the program, for the log.
    pub build: String,
    /// The Python that it was started with.
    pub interpreter: InterpreterChoice,
    /// The work.
    pub work: Work,
    /// What the operator has decided.
    pub settings: WorkerSettings,
    /// Whether nobody else puts time and program in front of lines of the log.
    pub alone: bool,
    /// The open file of the log, if it is one.
    pub log: Option<RawFd>,
}

/// What the responder is told that a CGI program starts, which is this program again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResponderLaunch {
    /// The directory of its files.
    #[serde(with = "by_bytes::path")]
    pub directory: PathBuf,
    /// The name of its socket there.
    pub socket: String,
    /// The name of the file there in which it accounts for what it does, and the file.
    pub account: (String, RawFd),
    /// What each worker does.
    pub worker: WorkerSettings,
    /// Which processes there are.
    pub master: MasterSettings,
}

/// A Python, and why it is this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterpreterChoice {
    /// Absolute; not followed if it is a link, since a virtual environment is told by it.
    #[serde(with = "by_bytes::path")]
    pub path: PathBuf,
    /// In words that fit behind it in parentheses: `the first python3 in PATH`.
    pub reason: String,
}

/// What a process does in Python.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Answers one request: its body is to be read from the first, its response to be written to the second.
    Cgi(RawFd, RawFd),
    /// Imports the application and says what it is; writes a byte to this first, to say that Python has come so far.
    Check(RawFd),
    /// Serves without a master.
    Alone {
        /// Where to listen.
        listeners: Vec<RawFd>,
        /// The file of `--pid`, to be removed at the end.
        #[serde(with = "by_bytes::optional_path")]
        pid: Option<PathBuf>,
    },
    /// Serves as a worker of a master.
    Worker(WorkerHandles),
    /// Imports the application for workers that are forked from it: the channel to the master, and the two ends of the one
    /// between workers.
    Template {
        /// To the master.
        channel: RawFd,
        /// Between workers.
        handoff: (RawFd, RawFd),
        /// To who writes lines of requests.
        lines: Option<RawFd>,
    },
}

/// What a worker has inherited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerHandles {
    /// Its number, from 1.
    pub number: u32,
    /// Its end of the channel to the master.
    pub channel: RawFd,
    /// The memory of its slot of the scoreboard.
    pub slot: RawFd,
    /// Where to listen.
    pub listeners: Vec<RawFd>,
    /// The two ends of the channel between workers.
    pub handoff: (RawFd, RawFd),
    /// The socket on which lines of requests are sent to who writes them.
    pub lines: Option<RawFd>,
}

/// What was to be read is no launch.
#[derive(Debug, thiserror::Error)]
#[error("the settings cannot be read: {0}")]
pub struct LaunchError(serde_json::Error);

/// What travels to another process of ours as text.
pub trait Transfer: Serialize + for<'de> Deserialize<'de> {
    /// As text.
    ///
    /// # Errors
    /// When a value has none, which is a fault of this program.
    fn write(&self) -> Result<Vec<u8>, LaunchError> {
        serde_json::to_vec(self).map_err(LaunchError)
    }

    /// Of that text.
    ///
    /// # Errors
    /// When it is another's.
    fn read(text: &[u8]) -> Result<Self, LaunchError> {
        serde_json::from_slice(text).map_err(LaunchError)
    }
}

impl Transfer for Launch {}

impl Transfer for ResponderLaunch {}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::super::{
        AccessFormat, AccessLogSettings, LineTarget, LogFormat, LogSettings, PythonSettings,
        RecyclingSettings, ResponderSettings, SettingOrigins, TimeSettings, WorkerSettings,
    };
    use super::{InterpreterChoice, Launch, Transfer as _, Work};
    use crate::gateway::Mount;

    #[test]
    fn what_is_no_text_travels_too() {
        let odd = std::ffi::OsStr::from_bytes(b"/srv/caf\xe9");
        let launch = Launch {
            build: "1".to_owned(),
            interpreter: InterpreterChoice {
                path: odd.into(),
                reason: String::new(),
            },
            work: Work::Cgi(3, 4),
            settings: WorkerSettings {
                gateway: "shop".to_owned(),
                app: odd.into(),
                explain: false,
                for_cgi: Some(1),
                python: PythonSettings {
                    venv: Some(odd.into()),
                    path: vec![odd.into()],
                    ..PythonSettings::default()
                },
                chdir: None,
                mount: Mount::parse_stripped("/caf%E9").ok(),
                debug: false,
                log: LogSettings {
                    level: log::LevelFilter::Debug,
                    name: String::new(),
                    format: Some(LogFormat::Json),
                    file: Some(odd.into()),
                    limit: Some(1),
                },
                access_log: AccessLogSettings {
                    to: Some(LineTarget::File(odd.into())),
                    format: AccessFormat::parse("%h %{x}e").unwrap(),
                    skip: vec!["/ping".to_owned()],
                    slow: Some(odd.into()),
                },
                threads: 1,
                responder: ResponderSettings {
                    buffer: u64::MAX,
                    max_params: 1,
                    max_body: None,
                    max_unsent: 1,
                    max_connections: 1,
                    header_timeout: std::time::Duration::from_nanos(1),
                    idle_connection_timeout: std::time::Duration::MAX,
                    io_timeout: std::time::Duration::ZERO,
                    allow: None,
                },
                times: TimeSettings {
                    request: None,
                    kill_after: std::time::Duration::ZERO,
                    slow: None,
                    grace: std::time::Duration::ZERO,
                },
                recycling: RecyclingSettings {
                    requests: None,
                    jitter: 0,
                    lifetime: None,
                    rss: None,
                },
                reload: false,
                origins: SettingOrigins::default(),
            },
            alone: true,
            log: Some(5),
        };
        let read = Launch::read(&launch.write().unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{launch:?}"));
    }
}
