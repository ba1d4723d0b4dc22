//! What a worker is given when it begins: from here on it is another process, which only the master and the scoreboard
//! know of.

use std::fmt;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, getppid};

use super::channel::{Channel, Message, Received};
use super::forks;
use super::identity::Identity;
use super::listener::Bound;
use super::signals::{self, end_at_once};
use super::title::set_title;

/// What the processes of a gateway do; the master calls each in a new process.
pub trait Crew {
    /// From here on the log goes through this.
    fn speak_through(&self, channel: &Channel);

    /// The operator asks for a reload: for what is to be said about what it does not change.
    fn before_reload(&self);

    /// A worker has died and others serve: what it was told of but had not taken yet is for them to look for.
    fn worker_died(&self);

    /// The life of a worker. Gives its exit code.
    fn work(&self, post: Post) -> i32;

    /// The life of a process that answers in the place of workers, of which none can be made: with `trouble` where it is
    /// there, as workers do. Gives its exit code.
    fn stand_in(&self, post: Post, trouble: Option<String>) -> i32;

    /// The life of the template: imports the application, then obeys orders until there are no more. Gives its exit code.
    fn prepare(&self, orders: Orders) -> i32;
}

/// What a worker is given.
#[derive(Debug)]
pub struct Post {
    /// Its number, from 1.
    pub number: u32,
    /// Its end of the channel to the master.
    pub channel: Channel,
    /// The memory of its place on the scoreboard.
    pub place: OwnedFd,
    /// Where to listen.
    pub listeners: Vec<Bound>,
}

/// What the template is given.
#[derive(Debug)]
pub struct Orders {
    /// Its end of the channel to the master.
    pub channel: Channel,
    name: String,
}

/// In which process a fork has returned.
#[derive(Debug)]
pub enum Side {
    /// In the one that was there before.
    Template,
    /// In a new worker.
    Worker(Post),
}

/// A worker that is to be forked: its number, its end of the channel and of its output, its place, and where it listens.
#[derive(Debug)]
pub struct Order {
    number: u32,
    channel: Channel,
    output: OwnedFd,
    place: OwnedFd,
    listeners: Vec<Bound>,
}

/// What distinguishes a new process from the one that it was forked from.
pub(super) struct Birth<'a> {
    pub(super) title: String,
    pub(super) output: &'a OwnedFd,
    pub(super) channel: &'a Channel,
    pub(super) speak_through: &'a dyn Fn(&Channel),
    pub(super) identity: &'a Identity,
}

impl Birth<'_> {
    /// Becomes the process. To be called first thing in it.
    pub(super) fn settle(&self) -> Result<(), String> {
        signals::leave_in_child();
        signals::let_pass();
        set_title(&self.title);
        (self.speak_through)(self.channel);
        redirect(self.output)
            .map_err(|error| format!("cannot redirect standard output: {error}"))?;
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
        set_pdeathsig(Signal::SIGCONT).map_err(|error| format!("cannot watch the master: {error}"))
    }
}

/// That a process cannot be made, why that may be, and what the operator can do.
pub(super) fn refused(error: impl fmt::Display) -> String {
    format!(
        "a worker cannot be made: {error}; the system, the user (ulimit -u) or the service (TasksMax=) may have as many \
         processes or open files as are allowed"
    )
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

impl Orders {
    /// The orders that come on this channel, for workers of an application of this name.
    pub fn new(channel: Channel, name: String) -> Self {
        Self { channel, name }
    }

    /// Waits for the next order; nothing when the master has no more, or has died.
    pub fn next(&self) -> Option<Order> {
        loop {
            match self.channel.wait() {
                Received::Message(Message::Fork(number, fds)) => {
                    let mut fds = fds.into_iter();
                    let (Some(channel), Some(output), Some(place)) =
                        (fds.next(), fds.next(), fds.next())
                    else {
                        log::error!(
                            "a worker cannot be made: no descriptors are left (--max-open-files)"
                        );
                        continue;
                    };
                    return Some(Order {
                        number,
                        channel: Channel::from_fd(channel),
                        output,
                        place,
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
    /// When the kernel makes no more processes: what to say of it.
    ///
    /// # Safety
    /// This process must have a single thread, or the worker must do nothing that needs what another held.
    pub unsafe fn fork(
        &mut self,
        order: Order,
        speak_through: &dyn Fn(&Channel),
    ) -> Result<Side, String> {
        forks::expect_fork();
        // SAFETY: passed on to the caller.
        let forked = unsafe { fork() };
        forks::forget_fork();
        match forked.map_err(refused)? {
            ForkResult::Parent { child } => {
                drop(order);
                let _ = waitpid(child, None);
                return Ok(Side::Template);
            }
            ForkResult::Child => {}
        }
        let between = getpid();
        forks::expect_fork();
        // SAFETY: as above, in the process between the two.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { .. }) => end_at_once(0),
            Ok(ForkResult::Child) => {}
            Err(error) => {
                let _ = order.channel.send(&Message::Log(1, refused(error)));
                end_at_once(1);
            }
        }
        forks::forget_fork();
        let Order {
            number,
            channel,
            output,
            place,
            listeners,
        } = order;
        while getppid() == between {
            std::thread::sleep(Duration::from_micros(50));
        }
        let _ = channel.send(&Message::Forked);
        let settled = Birth {
            title: format!("wsgi-gateway: worker {number} {}", self.name),
            output: &output,
            channel: &channel,
            speak_through,
            identity: &Identity::default(),
        }
        .settle();
        if let Err(error) = settled {
            log::error!("{error}");
            end_at_once(1);
        }
        Ok(Side::Worker(Post {
            number,
            channel,
            place,
            listeners,
        }))
    }
}
