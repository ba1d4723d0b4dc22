//! Signals to one thread, and what comes of them.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{RLIM_INFINITY, Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{getpid, gettid, pipe2};

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

/// The processor's time of this thread, in nanoseconds.
pub fn thread_cpu_time() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    let time = time.map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The most memory that this process has had resident, in bytes.
pub fn peak_memory() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    let kib = usage.map_or(0, |usage| usage.max_rss());
    u64::try_from(kib).unwrap_or(0) << 10
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

/// A pipe that stacks are written to.
#[derive(Debug)]
pub struct StackPipe {
    from: std::fs::File,
    to: OwnedFd,
    meanings: OnceLock<[SignalMeaning; 2]>,
}

/// What a signal does that is sent to threads of this process.
pub struct SignalMeaning {
    signal: i32,
    action: libc::sigaction,
}

impl std::fmt::Debug for SignalMeaning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignalMeaning({})", self.signal)
    }
}

impl SignalMeaning {
    /// The number of the signal that interrupts a request, beside the [`StackSignals`].
    pub fn timeout_signal() -> i32 {
        libc::SIGRTMAX() - 13
    }

    /// What it does now.
    pub fn of(signal: i32) -> Self {
        // SAFETY: zeroes are a value of this structure, which sigaction(2) only writes to.
        unsafe {
            let mut action = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            Self { signal, action }
        }
    }

    /// Sends the signal to a thread of this process, if it still does this. `false` where it does not: it is never sent to end
    /// the process.
    pub fn send_to(&self, tid: i32) -> bool {
        let now = Self::of(self.signal).action.sa_sigaction;
        now == self.action.sa_sigaction && send_to_thread(tid, self.signal)
    }

    /// Has the signal do this again, where the application has taken its meaning away: the default is to end the process.
    /// Whether it does it: the application may have a use of its own for it.
    fn restore(&self) -> bool {
        let now = Self::of(self.signal).action.sa_sigaction;
        if now == libc::SIG_DFL || now == libc::SIG_IGN {
            // SAFETY: the action was in force before, and whoever installed it is never unloaded (Python's faulthandler, which
            // does nothing where it was told to stop).
            return unsafe {
                libc::sigaction(self.signal, &self.action, std::ptr::null_mut()) == 0
            };
        }
        now == self.action.sa_sigaction
    }
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
            meanings: OnceLock::new(),
        })
    }

    /// The writing end's number.
    pub fn writing_end(&self) -> RawFd {
        self.to.as_raw_fd()
    }

    /// The signals have been given their meaning, which is to have them write to this pipe. Nothing is asked before.
    pub fn begin(&self) {
        let StackSignals { one, all } = StackSignals::get();
        let _ = self.meanings.set([one, all].map(SignalMeaning::of));
    }

    /// Sends the signal to a thread of this process, or to whichever gets it, and gives what was written for it. Nothing where
    /// the signal has no meaning or another: it is never sent to end the process.
    /// It is waited so long for the first of it.
    pub fn ask(&self, tid: Option<i32>, signal: i32, first: Duration) -> String {
        const NEXT: Duration = Duration::from_millis(20);
        let mut meanings = self.meanings.get().into_iter().flatten();
        let has_meaning = |meaning: &SignalMeaning| meaning.signal == signal && meaning.restore();
        if !meanings.any(has_meaning) {
            return String::new();
        }
        let tid = tid.filter(|tid| *tid > 0);
        if !send_to_thread(tid.unwrap_or(getpid().as_raw()), signal) {
            return String::new();
        }
        let mut stacks = Vec::new();
        let until = Instant::now() + first;
        let mut wait = first;
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

/// The threads of this process but the one that asks, by their numbers, with their names (proc_pid_task(5)).
pub fn other_threads() -> Vec<(i32, String)> {
    let own = gettid().as_raw();
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let mut threads: Vec<(i32, String)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let tid = entry.file_name().to_str()?.parse().ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            Some((tid, name.trim_end().to_owned()))
        })
        .filter(|(tid, _)| *tid != own)
        .collect();
    threads.sort_unstable();
    threads
}

/// Sends a signal to a thread of this process; `false` where there is none of that number.
fn send_to_thread(tid: i32, signal: i32) -> bool {
    let numbers = [getpid().as_raw(), tid, signal].map(libc::c_long::from);
    // SAFETY: tgkill(2) touches no memory; a thread that has ended makes it fail.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, numbers[0], numbers[1], numbers[2]) };
    sent == 0
}

/// The resident memory of this process, in bytes.
#[derive(Debug)]
pub struct ResidentMemory {
    statm: std::fs::File,
    page: u64,
}

impl ResidentMemory {
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

/// The processor time that the kernel grants this process before it kills it (RLIMIT_CPU of setrlimit(2)): hosts limit programs of CGI so,
/// which are meant to answer one request.
#[derive(Debug)]
pub struct CpuLimit {
    seconds: u64,
}

impl CpuLimit {
    /// Nothing where there is none.
    pub fn of_this_process() -> Option<Self> {
        let (seconds, _) = getrlimit(Resource::RLIMIT_CPU).ok()?;
        (seconds != RLIM_INFINITY).then_some(Self { seconds })
    }

    /// How much it is.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Whether half of it is used, so that a request has as much left: one system call.
    pub fn is_half_used(&self) -> bool {
        getrusage(UsageWho::RUSAGE_SELF).is_ok_and(|usage| {
            let used = usage.user_time() + usage.system_time();
            let used = u64::try_from(used.num_milliseconds()).unwrap_or(0);
            used >= self.seconds.saturating_mul(500)
        })
    }
}
