//! What a worker is given when it begins: from here on it is another process, which only the master and the scoreboard
//! know of.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid};
use thiserror::Error;

use super::channel::{Channel, Received};
use super::desk::Desk;
use super::forks;
use super::identity::{Identity, IdentityError};
use super::listener::Bound;
use super::messages::{ChildMessage, MasterMessage};
use super::signals::{self, end_at_once};
use super::title::set_title;

/// What the processes of a gateway do; the master calls each in a new process.
pub trait Service {
    /// From here on the log goes through this.
    fn log_through(&self, channel: &Channel);

    /// The descriptor of the log's file, for a process that closes all others.
    fn log_descriptor(&self) -> Option<RawFd>;

    /// The operator asks for a reload: for what is to be said about what it does not change.
    fn before_reload(&self);

    /// A worker has died and others serve: what it was told of but had not taken yet is for them to look for.
    fn worker_died(&self);

    /// Runs a worker. Gives its exit code.
    fn run_worker(&self, args: WorkerArgs) -> i32;

    /// Runs the fallback, which answers where no worker can be made: with `trouble` where it is there,
    /// as workers do. Gives its exit code.
    fn run_fallback(&self, args: WorkerArgs, trouble: Option<String>) -> i32;

    /// Runs the observer, which answers at the control socket until the master has no more to tell. Gives its exit code.
    fn run_observer(&self, args: ObserverArgs) -> i32;

    /// Whether the settings have changed since they were read.
    fn has_stale_settings(&self) -> bool;

    /// Runs the template: imports the application, then forks workers as requested until there are no more requests. Gives
    /// its exit code.
    fn run_template(&self, requests: ForkRequests) -> i32;
}

/// What a worker is given.
#[derive(Debug)]
pub struct WorkerArgs {
    /// Its number, from 1.
    pub number: u32,
    /// Its end of the channel to the master.
    pub channel: Channel,
    /// The memory of its slot of the scoreboard.
    pub slot: OwnedFd,
    /// Where to listen.
    pub listeners: Vec<Bound>,
}

/// What the observer is given.
#[derive(Debug)]
pub struct ObserverArgs {
    /// Where it answers: the control socket, and those that are for figures alone.
    pub sockets: Vec<Bound>,
    /// Its end of the desk.
    pub desk: Desk,
    /// Application threads of each worker.
    pub threads: usize,
    /// The user that the master runs as.
    pub owner: u32,
}

/// What the template is given.
#[derive(Debug)]
pub struct ForkRequests {
    /// Its end of the channel to the master.
    pub channel: Channel,
    name: String,
}

/// In which process a fork has returned.
#[derive(Debug)]
pub enum Forked {
    /// In the one that was there before.
    Template,
    /// In a new worker.
    Worker(WorkerArgs),
}

/// A worker that is to be forked: its number, its end of the channel and of its output, its slot, and where it listens.
#[derive(Debug)]
pub struct ForkRequest {
    number: u32,
    channel: Channel,
    output: OwnedFd,
    slot: OwnedFd,
    listeners: Vec<Bound>,
}

/// What distinguishes a new process from the one that it was forked from.
pub(super) struct ChildSetup<'a> {
    pub(super) title: &'a str,
    pub(super) output: &'a OwnedFd,
    pub(super) channel: &'a Channel,
    pub(super) log_through: &'a dyn Fn(&Channel),
    pub(super) identity: &'a Identity,
}

impl ChildSetup<'_> {
    /// Becomes the process. To be called first thing in it.
    pub(super) fn apply(&self) -> Result<(), ChildSetupError> {
        signals::leave_in_child();
        signals::let_pass();
        set_title(self.title);
        (self.log_through)(self.channel);
        redirect(self.output).map_err(ChildSetupError::Output)?;
        // What systemd said to the master is for nobody else, least of all for programs that the application starts.
        for name in [
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
        ] {
            // SAFETY: this process was forked just now by one that has a single thread.
            unsafe { std::env::remove_var(name) };
        }
        self.identity.take_on()?;
        // A worker that is stopped cannot see that its master has died: it is to go on, and ends then by itself. Behind what
        // --user does, which undoes this (PR_SET_PDEATHSIG in prctl(2)).
        set_pdeathsig(Signal::SIGCONT).map_err(ChildSetupError::DeathSignal)
    }
}

/// What keeps a new process from becoming what it is to be.
#[derive(Debug, Error)]
pub(super) enum ChildSetupError {
    #[error("cannot redirect standard output: {0}")]
    Output(nix::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot watch the master: {0}")]
    DeathSignal(nix::Error),
}

/// That a process cannot be made, for this reason.
#[derive(Debug, Error)]
#[error(
    "a worker cannot be made: {0}; the system, the user (ulimit -u) or the service (TasksMax=) may have as many processes \
     or open files as are allowed"
)]
pub struct ForkError(pub(super) String);

impl From<nix::Error> for ForkError {
    fn from(error: nix::Error) -> Self {
        Self(error.to_string())
    }
}

fn redirect(output: &OwnedFd) -> nix::Result<()> {
    let nothing = open(
        "/dev/null",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // Where the application has closed descriptor 0 as its import: it would be the copy that is closed again below.
    let nothing = fcntl(nothing, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    let nothing = unsafe { OwnedFd::from_raw_fd(nothing) };
    dup2_stdin(&nothing)?;
    dup2_stdout(output)?;
    dup2_stderr(output)
}

impl ForkRequests {
    /// The requests that come on this channel, for workers of an application of this name.
    pub fn new(channel: Channel, name: String) -> Self {
        Self { channel, name }
    }

    /// Waits for the next request; nothing when the master has no more, or has died.
    pub fn next(&self) -> Option<ForkRequest> {
        loop {
            match self.channel.wait() {
                Received::Message(MasterMessage::Fork(number, fds)) => {
                    let mut fds = fds.into_iter();
                    let (Some(channel), Some(output), Some(slot)) =
                        (fds.next(), fds.next(), fds.next())
                    else {
                        log::error!(
                            "a worker cannot be made: no descriptors are left (--max-open-files)"
                        );
                        continue;
                    };
                    return Some(ForkRequest {
                        number,
                        channel: Channel::from_fd(channel),
                        output,
                        slot,
                        listeners: fds.map(Bound::passed).collect(),
                    });
                }
                Received::Message(_) => {}
                Received::Nothing | Received::Closed => return None,
            }
        }
    }

    /// Forks the worker. Between the two processes stands a third that ends at once: so the worker becomes the master's
    /// child (which is a subreaper, prctl(2)), and there is one way to watch workers. It waits until it is, and says so: the
    /// master takes nobody for a worker who is not its child.
    ///
    /// # Errors
    /// When the kernel makes no more processes.
    ///
    /// # Safety
    /// This process must have a single thread, or the worker must do nothing that needs what another held.
    pub unsafe fn fork(
        &mut self,
        request: ForkRequest,
        log_through: &dyn Fn(&Channel),
    ) -> Result<Forked, ForkError> {
        // SAFETY: passed on to the caller.
        match unsafe { forks::fork() }? {
            ForkResult::Parent { child } => {
                drop(request);
                let _ = waitpid(child, None);
                return Ok(Forked::Template);
            }
            ForkResult::Child => {}
        }
        let between = getpid();
        // SAFETY: as above, in the process between the two.
        match unsafe { forks::fork() } {
            Ok(ForkResult::Parent { .. }) => end_at_once(0),
            Ok(ForkResult::Child) => {}
            Err(error) => {
                let error = ForkError::from(error).to_string();
                let _ = request.channel.send(&ChildMessage::Log(1, error));
                end_at_once(1);
            }
        }
        let ForkRequest {
            number,
            channel,
            output,
            slot,
            listeners,
        } = request;
        while getppid() == between {
            std::thread::sleep(Duration::from_micros(50));
        }
        let _ = channel.send(&ChildMessage::Forked);
        let applied = ChildSetup {
            title: &format!("wsgi-gateway: worker {number} {}", self.name),
            output: &output,
            channel: &channel,
            log_through,
            identity: &Identity::default(),
        }
        .apply();
        if let Err(error) = applied {
            log::error!("{error}");
            end_at_once(1);
        }
        Ok(Forked::Worker(WorkerArgs {
            number,
            channel,
            slot,
            listeners,
        }))
    }
}
