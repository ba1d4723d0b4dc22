//! A child of the master, and the only way to send it signals: by a descriptor that the kernel has made for this very process
//! (pidfd_open(2)), so that no number that anybody names, and none that was used again, leads to another.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::threads::StackSignals;

/// A process that is a child of this one. It is to be forgotten when it was waited for.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// None where the kernel has no such descriptors, or refuses them. Until it was waited for its number is its own.
    handle: Option<OwnedFd>,
}

impl Child {
    /// A child that this process has just forked.
    pub(super) fn forked(pid: Pid) -> Self {
        // SAFETY: pidfd_open(2) takes two numbers and touches no memory.
        let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let handle = RawFd::try_from(handle).ok().filter(|handle| *handle >= 0);
        Self {
            pid,
            // SAFETY: the kernel has just made the descriptor for this process, and nobody else knows of it.
            handle: handle.map(|handle| unsafe { OwnedFd::from_raw_fd(handle) }),
        }
    }

    /// The child with this number; nothing where it is no child of this process that was not waited for yet.
    pub(super) fn find(pid: Pid) -> Option<Self> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let is_ours = pid.as_raw() > 0 && waitid(Id::Pid(pid), look).is_ok();
        is_ours.then(|| Self::forked(pid))
    }

    /// Its number.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended within this time, and was waited for.
    pub(super) fn is_gone_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                found => return found != Ok(WaitStatus::StillAlive),
            }
        }
    }

    /// Sends it a signal. One that has ended takes no notice.
    pub(super) fn signal(&self, signal: Signal) {
        self.send(signal as i32);
    }

    /// Has it write the stacks of its threads to its standard error. One that has not come so far ends.
    pub(super) fn ask_for_stacks(&self) {
        self.send(StackSignals::get().all);
    }

    fn send(&self, signal: i32) {
        let sent = match &self.handle {
            // SAFETY: pidfd_send_signal(2) reads no memory where the third argument is null.
            Some(handle) => unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    handle.as_raw_fd(),
                    signal,
                    std::ptr::null::<libc::siginfo_t>(),
                    0,
                )
            },
            // SAFETY: kill(2) touches no memory. The number is positive, and that of a child that was not waited for.
            None => i64::from(unsafe { libc::kill(self.pid.as_raw(), signal) }) as libc::c_long,
        };
        if sent < 0 && Errno::last() != Errno::ESRCH {
            log::error!(
                "process {} cannot be signalled: {}",
                self.pid,
                Errno::last()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Child;
    use nix::unistd::{Pid, getpid, getppid};

    #[test]
    fn only_children_are_found() {
        for pid in [
            getpid(),
            getppid(),
            Pid::from_raw(0),
            Pid::from_raw(-1),
            Pid::from_raw(1),
        ] {
            assert!(Child::find(pid).is_none(), "{pid}");
        }
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let found = Child::find(pid).unwrap();
        found.signal(nix::sys::signal::Signal::SIGKILL);
        assert!(!child.wait().unwrap().success());
        assert!(Child::find(pid).is_none());
        // Whoever has the number now.
        found.signal(nix::sys::signal::Signal::SIGKILL);
    }
}
