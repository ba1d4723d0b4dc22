//! What the master's state is told, and what it wants done: numbers and words, no descriptors, no clock. `Master` turns what
//! happens into events and carries the actions out, in their order.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::super::desk::{Command, CommandOutcome};
use super::super::messages::{ChildMessage, MasterMessage};
use super::super::scoreboard::Running;
use super::super::signals;
use super::Ending;

/// A child of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChildId {
    /// The worker of this number. The fallback is one of them.
    Worker(u32),
    /// The template of the generation of this number.
    Template(u32),
    /// The process that answers at the control socket.
    Observer,
}

impl ChildId {
    /// Its name in the log.
    pub(super) fn name(self) -> String {
        match self {
            Self::Worker(number) => format!("worker {number}"),
            Self::Template(_) => "template".to_owned(),
            Self::Observer => "control socket".to_owned(),
        }
    }
}

/// Something has happened.
#[derive(Debug)]
pub(super) enum MasterEvent {
    /// The master begins.
    Begin,
    /// Time has passed: what there is is compared with what is wanted.
    Tick {
        /// What the scoreboard says of each worker.
        figures: Vec<(u32, Figures)>,
        /// Whether a connection waits to be taken.
        waits: bool,
    },
    /// A signal has come.
    Signal(signals::Signal),
    /// A process that was to be started is there. A worker of a template says so itself ([`ChildMessage::Forked`]).
    Started(ChildId, Pid),
    /// A process cannot be started, for this reason.
    NotStarted(ChildId, String),
    /// The process that calls itself a worker's ([`Action::Adopt`]) is no child of the master.
    NotAdopted(u32),
    /// A message on a child's channel.
    Heard {
        /// Whose channel.
        from: ChildId,
        /// What.
        message: ChildMessage,
        /// Which process has sent it, as the kernel says.
        sender: Pid,
        /// How many requests it had begun by then.
        requests: u64,
    },
    /// Something on a child's channel that is no message.
    Nonsense(ChildId, &'static str),
    /// A child's channel is closed at its end.
    HungUp(ChildId),
    /// A child has ended, and was waited for; all that it had said was heard.
    Exited(ChildId, Died, Figures),
    /// A signal has stopped a child, or has it go on.
    Stopped(ChildId, bool),
    /// The listening sockets were looked after ([`Action::MendListeners`]).
    Listeners(ListenersFound),
    /// These workers could not be given the listening sockets ([`Action::PassListeners`]).
    NotPassed(Vec<u32>),
    /// This file of the application has changed.
    FileChanged(String),
    /// Somebody who may has asked for something. Answered by [`Action::Answer`] with the same number.
    Asked(u32, Command),
}

/// Something is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// Start a worker. Answered by [`MasterEvent::Started`] or [`MasterEvent::NotStarted`].
    StartWorker {
        /// Its number.
        number: u32,
        /// Whether it answers in the workers' place.
        is_fallback: bool,
        /// What a fallback answers with, where that is not its own page.
        trouble: Option<String>,
    },
    /// Have the template of this generation fork a worker. Answered by [`MasterEvent::NotStarted`] where it cannot be told.
    RequestFork {
        /// The worker's number.
        number: u32,
        /// Whose template.
        generation: u32,
    },
    /// Start the template of this generation. Answered as [`Action::StartWorker`].
    StartTemplate(u32),
    /// Take this process, which a template has made, for the worker of this number, if it is a child of the master.
    Adopt(u32, Pid),
    /// Tell a worker something; where it cannot be told, send it this signal.
    Tell(u32, MasterMessage, Option<Signal>),
    /// Give the listening sockets to these workers.
    PassListeners(Vec<u32>),
    /// Send a signal.
    Kill(ChildId, Signal),
    /// Have it write the stacks of its threads.
    AskForStacks(ChildId),
    /// Hear no more of what it says on its channel.
    HearNoMore(ChildId),
    /// Let go of what belongs to it: it never was there, or nobody is interested in its end.
    Forget(ChildId),
    /// Count a worker's time without a request from now.
    BeginIdling(u32),
    /// Kill all children, and give them a moment to be gone.
    KillAll,
    /// Say in the log where the gateway is ready.
    TellReady,
    /// Write a line to the log.
    Log(log::Level, String),
    /// Write to the log what a child says.
    Relay(ChildId, log::Level, String),
    /// Tell systemd.
    Notify(Notice),
    /// Make the listening sockets anew where that is needed. Answered by [`MasterEvent::Listeners`].
    MendListeners,
    /// Have nobody connect any more.
    RefuseNew,
    /// Close the listening sockets.
    CloseListeners,
    /// Watch these files, too.
    WatchFiles(Vec<PathBuf>),
    /// See whether a file has changed. Answered by [`MasterEvent::FileChanged`] if one has.
    LookAtFiles,
    /// Open the log file anew.
    ReopenLog,
    /// Say what a reload does not change.
    BeforeReload,
    /// A worker has died while others serve: they are to look for what it had not taken.
    WorkerDied,
    /// Start the observer. Answered by [`MasterEvent::Started`] or [`MasterEvent::NotStarted`].
    StartObserver,
    /// Tell who has asked for something ([`MasterEvent::Asked`]) what came of it.
    Answer(u32, CommandOutcome),
    /// The master ends.
    End(Ending),
}

/// What systemd is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The gateway serves.
    Ready,
    /// A new generation of the application is being started.
    Reloading,
    /// The gateway ends.
    Stopping,
}

/// What the scoreboard says of a worker. Any code in it can have written that.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Requests that it has begun.
    pub(super) requests: u64,
    /// Whether all its threads are in requests.
    pub(super) is_full: bool,
    /// Since when it has been without any request; nothing while it has one.
    pub(super) idle_since: Option<Instant>,
    /// The requests that it is serving.
    pub(super) running: Vec<Running>,
}

impl Figures {
    /// Those of a worker that has not begun yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            is_full: false,
            idle_since: Some(now),
            running: Vec::new(),
        }
    }
}

/// How it stands with the listening sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListenersFound {
    /// Whether they are others than before.
    pub(super) are_new: bool,
    /// Whether one is to be made anew that could not be yet.
    pub(super) has_lost: bool,
    /// Whether nothing is listened on, nor going to be.
    pub(super) are_over: bool,
    /// Whether they are to be looked after from time to time.
    pub(super) have_files: bool,
    /// Whether the file of one that was made for this gateway alone is gone.
    pub(super) is_superseded: bool,
}

/// How a process has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Died {
    /// With this exit code.
    Exited(i32),
    /// With this exit code, and without having begun its work ([`ChildMessage::Begun`]).
    NeverBegan(i32),
    /// By this signal.
    Killed(Signal),
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::NeverBegan(code) => {
                write!(f, "exit code {code} (the gateway's core was not loaded)")
            }
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// What is to be done about one event, and when that has come.
#[derive(Debug)]
pub(super) struct Reaction {
    now: Instant,
    actions: Vec<Action>,
}

impl Reaction {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now,
            actions: Vec::new(),
        }
    }

    /// When the event has come.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// So long after the event.
    pub(super) fn after(&self, time: Duration) -> Instant {
        self.now + time
    }

    /// Adds an action.
    pub(super) fn add(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Whether a process is being started already. One at a time: whether there is that decides about the next.
    pub(super) fn starts(&self) -> bool {
        let is_start = |action: &Action| {
            matches!(
                action,
                Action::StartWorker { .. } | Action::RequestFork { .. } | Action::StartTemplate(_)
            )
        };
        self.actions.iter().any(is_start)
    }

    /// Adds a line of the log.
    pub(super) fn log(&mut self, level: log::Level, line: impl Into<String>) {
        self.add(Action::Log(level, line.into()));
    }

    /// Adds what a child says.
    pub(super) fn relay(&mut self, from: ChildId, level: log::Level, text: String) {
        self.add(Action::Relay(from, level, text));
    }

    /// Adds an error.
    pub(super) fn error(&mut self, line: impl Into<String>) {
        self.log(log::Level::Error, line);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, line: impl Into<String>) {
        self.log(log::Level::Warn, line);
    }

    /// Adds a line for the operator.
    pub(super) fn info(&mut self, line: impl Into<String>) {
        self.log(log::Level::Info, line);
    }

    /// Adds a line for who looks for something.
    pub(super) fn debug(&mut self, line: impl Into<String>) {
        self.log(log::Level::Debug, line);
    }

    /// Adds the death of a child.
    pub(super) fn kill(&mut self, child: ChildId) {
        self.add(Action::Kill(child, Signal::SIGKILL));
    }

    /// The actions, in their order.
    pub(super) fn into_actions(self) -> Vec<Action> {
        self.actions
    }
}
