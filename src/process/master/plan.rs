//! What the operator wants of the master, and how it has ended.

use std::time::Duration;

use super::super::identity::Identity;
use super::super::output::LineForm;

/// What the operator wants of the master.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The application's name, for `ps`.
    pub name: String,
    /// The least number of workers; 0 makes them on demand.
    pub min: usize,
    /// The most workers.
    pub max: usize,
    /// Application threads of each.
    pub threads: usize,
    /// How long a worker above the least number may be without a request.
    pub idle_timeout: Duration,
    /// How long a worker, or the template, may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a worker that was told to end may take.
    pub graceful_timeout: Duration,
    /// How long a request may take. Workers see to it themselves, unless they are stopped.
    pub request_timeout: Option<Duration>,
    /// Whether the gateway ends when all workers have been without a request for so long, and when its socket's file is gone.
    pub ends_when_idle: bool,
    /// Whether there is a control socket.
    pub has_control: bool,
    /// Whether workers are forked from a template that has imported the application.
    pub preload: bool,
    /// Whether changes of the application's files are a reload.
    pub watch_files: bool,
    /// Whether workers answer with the reason when a reload fails.
    pub show_trouble: bool,
    /// How long those who come after a first start that has failed are told the reason, before it can be tried again; nothing:
    /// only who waits already is told, and not the reason.
    pub failure_shown: Option<Duration>,
    /// What becomes of what workers write to their standard output and error.
    pub worker_output: LineForm,
    /// As whom the workers run.
    pub identity: Identity,
}

/// How the master has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to, and everything in flight was finished.
    Finished,
    /// It was told to, and something was cut.
    Cut,
    /// The first worker could not load the application.
    CannotLoad,
    /// The first worker ended with another exit code.
    Failed(i32),
}
