//! Signals to one thread, and what comes of them.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getpid, pipe2};

use super::channel::Channel;
use super::signals::Signals;

/// How long is waited where nothing can be waited for any more.
const CLOSED: Duration = Duration::from_millis(100);

/// Waits until there is a signal, or something on the channel, or the time is over.
pub fn wait_readable(signals: &Signals, channel: Option<&Channel>, wait: Option<Duration>) {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    fds.extend(channel.map(|channel| PollFd::new(channel.as_fd(), PollFlags::POLLIN)));
    // Rounded up: a wait that ends early would be repeated until the time has come.
    let wait = wait.map_or(PollTimeout::NONE, |wait| {
        PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
    });
    // An error is a signal that came, which is read next.
    let _ = poll(&mut fds, wait);
    let is_closed = |fd: &PollFd<'_>| {
        let events = fd.revents();
        events.is_some_and(|events| events.contains(PollFlags::POLLNVAL))
    };
    if fds.iter().any(is_closed) {
        // The application has closed what is not its own, which is told again at once.
        std::thread::sleep(CLOSED);
    }
}

/// Signals that have threads write their stacks. Whoever serves says what they do.
#[derive(Clone, Copy, Debug)]
pub struct StackSignals {
    /// The thread that gets it writes its own.
    pub one: i32,
    /// The thread that gets it writes those of all.
    pub all: i32,
}

impl StackSignals {
    /// Real-time signals far from the ends of their range, where others look for theirs first.
    pub fn get() -> Self {
        let most = libc::SIGRTMAX();
        Self {
            one: most - 11,
            all: most - 12,
        }
    }
}

/// Has another process of ours write the stacks of its threads to its standard error. One that has not come so far ends.
pub(super) fn ask_for_stacks(process: nix::unistd::Pid) {
    // SAFETY: kill(2) touches no memory.
    unsafe { libc::kill(process.as_raw(), StackSignals::get().all) };
}

/// A pipe that stacks are written to.
#[derive(Debug)]
pub struct StackPipe {
    from: std::fs::File,
    to: OwnedFd,
}

impl StackPipe {
    /// A new one.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Room for the stacks of many threads: what does not fit is lost.
        let _ = fcntl(&to, FcntlArg::F_SETPIPE_SZ(1 << 20));
        Ok(Self {
            from: from.into(),
            to,
        })
    }

    /// The writing end's number.
    pub fn writing_end(&self) -> RawFd {
        self.to.as_raw_fd()
    }

    /// Sends the signal to a thread of this process, or to whichever gets it, and gives what was written for it. The
    /// signal must have been given a meaning, else it ends the process.
    pub fn ask(&self, tid: Option<i32>, signal: i32) -> String {
        const FIRST: Duration = Duration::from_secs(1);
        const NEXT: Duration = Duration::from_millis(50);
        let pid = getpid().as_raw();
        let tid = libc::c_long::from(tid.filter(|tid| *tid > 0).unwrap_or(pid));
        // SAFETY: tgkill(2) touches no memory; a thread that has ended makes it fail.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                libc::c_long::from(pid),
                tid,
                libc::c_long::from(signal),
            )
        };
        if sent != 0 {
            return String::new();
        }
        let mut stacks = Vec::new();
        let until = Instant::now() + FIRST;
        let mut wait = FIRST;
        while Instant::now() < until + NEXT {
            let mut fds = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
            if !poll(&mut fds, timeout).is_ok_and(|ready| ready > 0) {
                break;
            }
            let mut piece = [0; 4096];
            match (&self.from).read(&mut piece) {
                Ok(count) => stacks.extend_from_slice(&piece[..count]),
                Err(_) => break,
            }
            wait = NEXT;
        }
        String::from_utf8_lossy(&stacks).trim_end().to_owned()
    }
}

/// The resident memory of this process, in bytes.
#[derive(Debug)]
pub struct Memory {
    statm: std::fs::File,
    page: u64,
}

impl Memory {
    /// Opens what the kernel tells of it.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn of_this_process() -> io::Result<Self> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
        Ok(Self {
            statm: std::fs::File::open("/proc/self/statm")?,
            page: u64::try_from(page.unwrap_or(4096)).unwrap_or(4096),
        })
    }

    /// How much it is now: one system call.
    pub fn resident(&self) -> u64 {
        use std::os::unix::fs::FileExt;
        let mut text = [0; 128];
        let read = self.statm.read_at(&mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(&text[..read]).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.unwrap_or(0u64) * self.page
    }
}
