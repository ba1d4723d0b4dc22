//! A program that this one starts for as long as it runs itself: in a process group of its own, so that Ctrl-C comes to this one, which
//! ends the others in its own order; and ended by the kernel where this one cannot do it any more.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, User, getppid};

/// How long one that was asked to end may take until it is killed, and how often is looked.
const GRACE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

/// A program that was started, which ends when this value is dropped.
#[derive(Debug)]
pub struct Attended {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Attended {
    /// Starts it. What it does with its standard streams is the command's to say.
    ///
    /// # Errors
    /// When it cannot be executed, or there can be no more processes.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let parent = Pid::this();
        let prepare = move || {
            set_pdeathsig(Signal::SIGTERM)?;
            // It may have died before that.
            match getppid() == parent {
                true => Ok(()),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        command.process_group(0);
        // SAFETY: it only makes system calls, which signal-safety(7) allows in a child of a process with threads.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        let ended = None;
        Ok(Self { child, ended })
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // An error means that there is no such child, which cannot be.
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Asks it to end (SIGTERM), waits for that, and kills it where that takes too long: its exit code, or minus the signal.
    pub fn end(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        let until = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.ended() {
                return code(status);
            }
            if Instant::now() >= until {
                self.signal(Signal::SIGKILL);
            }
            std::thread::sleep(STEP);
        }
    }

    fn signal(&mut self, signal: Signal) {
        // One that was waited for has no number any more.
        if self.ended().is_none() {
            if let Ok(pid) = i32::try_from(self.child.id()) {
                // It is ours, and not waited for, so that it is there.
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.end();
    }
}

/// The exit code, or minus the signal that ended it.
pub fn code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| -signal);
    status.code().or(signal).unwrap_or(-1)
}

/// A user of this machine and his group, by name and number.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "their names say it")]
pub struct LocalUser {
    pub user: String,
    pub group: String,
    pub uid: u32,
    pub gid: u32,
}

/// The first of these users that this machine has.
pub fn first_user(names: &[&str]) -> Option<LocalUser> {
    names.iter().find_map(|name| {
        let user = User::from_name(name).ok()??;
        let group = Group::from_gid(user.gid).ok()??;
        Some(LocalUser {
            user: user.name,
            group: group.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })
    })
}
