//! The process that writes the lines of all workers, and what the master has of it.
//!
//! It has the channel's end, the files and the log, as the master's user; all else that the master has is closed in it. It takes
//! no notice of signals that are meant for the gateway as a whole: its end comes when nobody is left who could send lines, or
//! behind the last of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal as Number;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid};

use super::super::child::Child;
use super::super::forks;
use super::super::scoreboard::WorkerSlot;
use super::super::signals::{self, Catch, Signal, Signals, end_at_once};
use super::super::title::set_title;
use super::super::totals::Totals;
use super::output::{LineFileError, LineFiles};
use super::{END, LineKind, PIECE};

/// How soon it is started again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the lines that there still are may take at the end.
const LAST: Duration = Duration::from_secs(2);

/// What opens the files.
type Opener = Box<dyn Fn() -> Result<LineFiles, LineFileError>>;

/// The writer, as its master has it.
pub struct LineWriter {
    open: Opener,
    /// Of the first start: nobody is to learn later that a file cannot be opened.
    files: Option<LineFiles>,
    to: Arc<OwnedFd>,
    from: OwnedFd,
    /// For what it counts.
    slot: WorkerSlot,
    child: Option<Child>,
    /// When it was last started.
    started: Option<Instant>,
}

impl LineWriter {
    /// A writer, to be started, to the files that `open` opens, now and whenever it has died.
    ///
    /// # Errors
    /// When they cannot be opened, or the kernel has no memory or descriptors left.
    pub fn new(open: Opener) -> Result<Self, LineWriterError> {
        let files = open()?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (to, from) = pair.map_err(io::Error::from)?;
        Ok(Self {
            open,
            files: Some(files),
            to: Arc::new(to),
            from,
            slot: WorkerSlot::new(0).map_err(io::Error::from)?.0,
            child: None,
            started: None,
        })
    }

    /// Where workers send their lines.
    pub fn sender(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.to)
    }

    /// What it has counted: lines that no file took.
    pub fn totals(&self) -> Totals {
        self.slot.totals()
    }

    /// When it is to be started again, if it is not there.
    pub(in crate::process) fn due(&self) -> Option<Instant> {
        match (&self.child, self.started) {
            (Some(_), _) => None,
            (None, Some(started)) => Some(started + AGAIN),
            (None, None) => None,
        }
    }

    /// Starts it where that is due. `log`: the descriptor of the log; `reopen_log` opens that anew.
    pub(in crate::process) fn start_when_due(
        &mut self,
        title: &str,
        log: Option<RawFd>,
        reopen_log: &dyn Fn(),
    ) {
        let now = Instant::now();
        if self.child.is_some() || self.due().is_some_and(|due| due > now) {
            return;
        }
        self.started = Some(now);
        let files = self.files.take();
        let master = getpid();
        // SAFETY: the master has a single thread, so that nothing is held by another in the child.
        match unsafe { forks::fork() } {
            Ok(ForkResult::Parent { child }) => self.child = Some(Child::forked(child)),
            Ok(ForkResult::Child) => {
                // A panic is not to go on in the master's part of the stack, whose owner is another process.
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    signals::leave_in_child();
                    set_title(title);
                    self.run(files, master, log, reopen_log)
                }));
                end_at_once(match ran {
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => {
                        log::error!("lines of requests cannot be written: {error}");
                        1
                    }
                    Err(_) => 1,
                });
            }
            Err(error) => log::error!("the process that writes lines cannot be made: {error}"),
        }
    }

    /// Whether that was it, which has ended: it is to be started again.
    pub(in crate::process) fn note_end(&mut self, pid: Pid) -> bool {
        let is_it = self.child.as_ref().is_some_and(|child| child.pid() == pid);
        if is_it {
            log::error!("the process that writes lines (pid {pid}) has ended: it is started again");
            self.child = None;
        }
        is_it
    }

    /// Has it open its files anew.
    pub(in crate::process) fn reopen(&self) {
        if let Some(child) = &self.child {
            child.signal(Number::SIGUSR1);
        }
    }

    /// Nobody sends lines any more: waits until those that there are have been written, but not for long.
    pub(in crate::process) fn finish(&mut self) {
        let Some(child) = self.child.take() else {
            return;
        };
        let until = Instant::now() + LAST;
        let left = || until.saturating_duration_since(Instant::now());
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        while send(self.to.as_raw_fd(), &[END], flags) == Err(Errno::EAGAIN) && !left().is_zero() {
            let mut fds = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
            let wait = left() + Duration::from_micros(999);
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO),
            );
        }
        let is_there = || {
            let status = waitpid(child.pid(), Some(WaitPidFlag::WNOHANG));
            status == Ok(WaitStatus::StillAlive)
        };
        let mut lives = is_there();
        while lives && !left().is_zero() {
            std::thread::sleep(Duration::from_millis(1));
            lives = is_there();
        }
        if lives {
            log::error!(
                "lines of requests are lost that nobody has taken (--access-log, --slow-log-file)"
            );
            child.signal(Number::SIGKILL);
            let _ = waitpid(child.pid(), None);
        }
    }

    /// Is the process.
    fn run(
        &self,
        files: Option<LineFiles>,
        master: Pid,
        log: Option<RawFd>,
        reopen_log: &dyn Fn(),
    ) -> Result<(), LineWriterError> {
        let kept = files.iter().flat_map(LineFiles::descriptors);
        let kept = kept.map(|fd| fd.as_raw_fd()).chain(log);
        close_others(kept.chain([self.from.as_raw_fd()]).collect());
        // What the master tells it tells, too.
        log::set_max_level(log::max_level().min(log::LevelFilter::Warn));
        let mut files = match files {
            Some(files) => files,
            None => (self.open)()?,
        };
        let mut signals = Signals::catch(Catch::All)?;
        let mut message = vec![0; PIECE + 2];
        loop {
            let mut fds = [&signals as &dyn AsFd, &self.from]
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::NONE);
            let events = fds[1].revents().unwrap_or(PollFlags::empty());
            while let Some(signal) = signals.read() {
                if signal == Signal::ReopenLog {
                    files.reopen();
                    reopen_log();
                }
            }
            loop {
                let room = PIECE + 1;
                let taken = recv(
                    self.from.as_raw_fd(),
                    &mut message[..room],
                    MsgFlags::MSG_DONTWAIT,
                );
                match taken {
                    // An empty message, of somebody else's.
                    Ok(0) if !events.contains(PollFlags::POLLHUP) => break,
                    Ok(0) => return Ok(()),
                    Ok(length) => {
                        let is_ended = message[length - 1] == b'\n';
                        message[length] = b'\n';
                        let lines = &message[1..length + usize::from(!is_ended)];
                        let kind = match message[0] {
                            END => return Ok(()),
                            kind => LineKind::ALL.into_iter().find(|it| it.byte() == kind),
                        };
                        let waits = || getppid() == master;
                        let lost = kind.map_or(0, |kind| files.write(kind, lines, &waits));
                        if lost > 0 {
                            self.slot.count_dropped(lost);
                        }
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(error) => return Err(io::Error::from(error).into()),
                }
            }
        }
    }
}

impl std::fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineWriter")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum LineWriterError {
    #[error(transparent)]
    File(#[from] LineFileError),
    #[error("the writer of lines cannot be made: {0}")]
    System(#[from] io::Error),
}

/// Closes all descriptors but the first three and these: those of the listening sockets would keep the address in use, and those
/// of workers' channels would hide the master's death from them. To be called in a process that goes back into nothing that owns
/// one.
fn close_others(mut kept: Vec<RawFd>) {
    kept.sort_unstable();
    let mut first: RawFd = 3;
    for fd in kept.into_iter().chain([RawFd::MAX]) {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd.saturating_add(1));
    }
}

fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: close_range(2) touches no memory; nobody uses those descriptors again in this process.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 {
        return;
    }
    // A kernel before 5.9.
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let most = most.map_or(1024, |(now, _)| RawFd::try_from(now).unwrap_or(RawFd::MAX));
    for fd in first..=last.min(most) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}
