//! Signals as bytes in a pipe: a handler writes one, all thinking happens in the thread that reads them.
//!
//! Not by blocking signals: the mask would be inherited by every program that the application starts.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, sigaction};
use nix::unistd::{getpid, pipe2};

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: finish what is in flight, then end.
    Terminate,
    /// SIGINT or SIGQUIT: end at once.
    Interrupt,
    /// SIGHUP: take up the application's new code.
    Reload,
    /// SIGUSR1: open the log file anew.
    ReopenLog,
    /// SIGTTIN: one worker more.
    More,
    /// SIGTTOU: one worker fewer.
    Fewer,
    /// SIGCHLD: a child has ended.
    Child,
}

/// Which signals a process catches; the others keep their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catch {
    /// Those that end a process, and the one that reopens its log: for a process that serves.
    Serving,
    /// All of them: for the master.
    All,
}

/// The end of the pipe that signals come out of.
#[derive(Debug)]
pub struct Signals {
    from: std::fs::File,
    /// The handler's end, open for as long as this is.
    _to: OwnedFd,
    catch: Catch,
}

/// The descriptor that the handler writes to, or -1.
static TO: AtomicI32 = AtomicI32::new(-1);

/// The process that catches signals.
static OWNER: AtomicI32 = AtomicI32::new(0);

const CAUGHT: [(signal::Signal, Signal); 8] = [
    (signal::Signal::SIGTERM, Signal::Terminate),
    (signal::Signal::SIGINT, Signal::Interrupt),
    (signal::Signal::SIGQUIT, Signal::Interrupt),
    (signal::Signal::SIGUSR1, Signal::ReopenLog),
    (signal::Signal::SIGHUP, Signal::Reload),
    (signal::Signal::SIGTTIN, Signal::More),
    (signal::Signal::SIGTTOU, Signal::Fewer),
    (signal::Signal::SIGCHLD, Signal::Child),
];

impl Catch {
    fn signals(self) -> &'static [(signal::Signal, Signal)] {
        match self {
            Self::Serving => &CAUGHT[..4],
            Self::All => &CAUGHT,
        }
    }
}

extern "C" fn handler(number: i32) {
    let byte = [u8::try_from(number).unwrap_or(u8::MAX)];
    // SAFETY: these are functions that a handler may call (signal-safety(7)), the buffer is this frame's, and a descriptor
    // that is not open any more only makes write(2) fail. errno is put back: the interrupted code may be about to read it.
    unsafe {
        // In a child that the application has just forked, before it let go of this handler: the signal is for it.
        if nix::libc::getpid() != OWNER.load(Ordering::Relaxed) {
            nix::libc::signal(number, nix::libc::SIG_DFL);
            nix::libc::raise(number);
            return;
        }
        let errno = nix::libc::__errno_location();
        let before = *errno;
        nix::libc::write(TO.load(Ordering::Relaxed), byte.as_ptr().cast(), 1);
        *errno = before;
    }
}

impl Signals {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// When there is no pipe to be had.
    pub fn catch(catch: Catch) -> io::Result<Self> {
        // Neither end blocks: a flood of signals must not stop the handler, and the reader may find that another took
        // the byte that woke it.
        let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        OWNER.store(getpid().as_raw(), Ordering::Relaxed);
        TO.store(to.as_raw_fd(), Ordering::Relaxed);
        let signals = Self {
            from: from.into(),
            _to: to,
            catch,
        };
        signals.insist()?;
        Ok(signals)
    }

    /// Puts our handlers in place of those that the application has set while it was imported: Python would run them in
    /// its main thread between two steps of Python code, of which there may be none.
    ///
    /// # Errors
    /// When the kernel refuses, which it has no reason for.
    pub fn insist(&self) -> io::Result<()> {
        insist(self.catch)
    }

    /// The signal that came first and was not read yet, if there is one. Never waits: poll for [`AsFd`].
    pub fn read(&mut self) -> Option<Signal> {
        let mut byte = [0];
        match self.from.read(&mut byte) {
            Ok(1) => CAUGHT
                .iter()
                .find(|(number, _)| *number as i32 == i32::from(byte[0]))
                .map(|(_, signal)| *signal),
            _ => None,
        }
    }
}

/// As [`Signals::insist`], for who does not have the pipe's end.
///
/// # Errors
/// When the kernel refuses, which it has no reason for.
pub fn insist(catch: Catch) -> io::Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(handler),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for (signal, _) in catch.signals() {
        // SAFETY: the handler keeps to what signal-safety(7) allows.
        unsafe { sigaction(*signal, &action) }?;
    }
    // A web server that has gone is an error of the call that sends to it, not the end of the process.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal::signal(signal::Signal::SIGPIPE, SigHandler::SigIgn) }?;
    Ok(())
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

/// Has a fault end the process, however the signal came. The handlers of Rust's library, which tell of a stack overflow,
/// would let a process live that somebody sent the signal to.
pub fn die_of_faults() {
    for signal in [signal::Signal::SIGSEGV, signal::Signal::SIGBUS] {
        // SAFETY: the default action installs no handler.
        let _ = unsafe { signal::signal(signal, SigHandler::SigDfl) };
    }
}

/// Lets go of all signals, in a child. Makes calls only that signal-safety(7) allows.
pub(super) fn leave_in_child() {
    if TO.swap(-1, Ordering::Relaxed) >= 0 {
        for (signal, _) in CAUGHT {
            // SAFETY: the default action installs no handler.
            let _ = unsafe { signal::signal(signal, SigHandler::SigDfl) };
        }
    }
}

extern "C" fn nothing(_: i32) {}

/// Lets signals pass by that are the master's business: some send them to all processes of a service at once (pkill,
/// `systemctl kill`, a terminal that is closed), and they would end this one. Not by ignoring them, which programs that
/// the application starts would inherit.
pub(super) fn let_pass() {
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [
        signal::Signal::SIGHUP,
        signal::Signal::SIGTTIN,
        signal::Signal::SIGTTOU,
    ] {
        // SAFETY: the handler does nothing.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// Ends the process without anything else being run: Python's own end would wait for threads that are to be left.
pub fn end_at_once(code: i32) -> ! {
    // SAFETY: _exit(2) touches nothing of this process.
    unsafe { nix::libc::_exit(code) }
}
