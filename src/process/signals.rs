//! Signals as bytes in a pipe: a handler writes one, all thinking happens in the thread that reads them.
//!
//! Not by blocking signals: the mask would be inherited by every program that the application starts.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, sigaction};
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

/// How often it is told that a signal means nothing.
const TOLD: Duration = Duration::from_secs(1);

/// The end of the pipe that signals come out of.
#[derive(Debug)]
pub struct Signals {
    from: std::fs::File,
    /// The handler's end, open for as long as this is.
    _to: OwnedFd,
    catch: Catch,
    /// When it was last told that a signal means nothing.
    told: Option<Instant>,
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

/// What some send by habit: the servers that give it a meaning make a new master on it. Its default is death.
const UNUSED: signal::Signal = signal::Signal::SIGUSR2;

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
            told: None,
        };
        signals.insist()?;
        // Not where we insist: in a worker it may have a meaning to the application.
        if !is_of_application(UNUSED) {
            // SAFETY: the handler keeps to what signal-safety(7) allows.
            unsafe { sigaction(UNUSED, &action(handler)) }?;
        }
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
        loop {
            let mut byte = [0];
            if self.from.read(&mut byte).ok()? == 0 {
                return None;
            }
            let number = i32::from(byte[0]);
            let mut known = CAUGHT.iter();
            match known.find(|(caught, _)| *caught as i32 == number) {
                Some((_, signal)) => return Some(*signal),
                None => self.ignore(),
            }
        }
    }

    fn ignore(&mut self) {
        let now = Instant::now();
        if self.told.is_none_or(|last| now >= last + TOLD) {
            self.told = Some(now);
            log::info!(
                "{UNUSED} means nothing here and is ignored: HUP reloads, USR1 opens the log file anew"
            );
        }
    }
}

fn action(handler: extern "C" fn(i32)) -> SigAction {
    SigAction::new(
        SigHandler::Handler(handler),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    )
}

/// As [`Signals::insist`], for who does not have the pipe's end.
///
/// # Errors
/// When the kernel refuses, which it has no reason for.
pub fn insist(catch: Catch) -> io::Result<()> {
    for (signal, _) in catch.signals() {
        // SAFETY: the handler keeps to what signal-safety(7) allows.
        unsafe { sigaction(*signal, &action(handler)) }?;
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
        if !is_of_application(UNUSED) {
            // SAFETY: as above.
            let _ = unsafe { signal::signal(UNUSED, SigHandler::SigDfl) };
        }
    }
}

/// Puts our handler back in place of one that was set for this signal just now, if it is one of those that a serving process
/// catches. Nothing where none is caught, as in the template.
pub fn insist_on(number: i32) {
    let mut caught = Catch::Serving.signals().iter();
    let signal = caught.find(|(caught, _)| *caught as i32 == number);
    if let (Some((signal, _)), true) = (signal, TO.load(Ordering::Relaxed) >= 0) {
        // SAFETY: the handler keeps to what signal-safety(7) allows.
        let _ = unsafe { sigaction(*signal, &action(handler)) };
    }
}

/// What is done on a signal: a handler's address, or `SIG_DFL` or `SIG_IGN`; nothing where there is no such signal.
fn disposition(number: i32) -> Option<usize> {
    // SAFETY: sigaction(2) writes to a struct of this frame, for which zeros are a value, and changes nothing.
    unsafe {
        let mut found: nix::libc::sigaction = std::mem::zeroed();
        let asked = nix::libc::sigaction(number, std::ptr::null(), &raw mut found);
        (asked == 0).then_some(found.sa_sigaction)
    }
}

/// Whether the application has set its own handler for the signal.
fn is_of_application(signal: signal::Signal) -> bool {
    let ours = [
        nix::libc::SIG_DFL,
        nix::libc::SIG_IGN,
        handler as extern "C" fn(i32) as usize,
        nothing as extern "C" fn(i32) as usize,
    ];
    disposition(signal as i32).is_some_and(|found| !ours.contains(&found))
}

/// What Python ignores in a process of its own: a reader that has gone and a file that may not grow are errors of the call
/// that writes. What Python starts by `subprocess` has the defaults.
const IGNORED: [signal::Signal; 2] = [signal::Signal::SIGPIPE, signal::Signal::SIGXFSZ];

/// Makes this process independent of what it has inherited of who started it: no signal is blocked, and none ignored beside
/// those that Python ignores. A blocked SIGTERM could not end it, an ignored SIGCHLD would hide the death of children.
///
/// What is ignored for who leaves a terminal (nohup(1)) or has a shell start something in the background stays so.
pub fn clear_inherited() {
    let left = [
        signal::Signal::SIGHUP,
        signal::Signal::SIGINT,
        signal::Signal::SIGQUIT,
        signal::Signal::SIGTSTP,
        signal::Signal::SIGTTIN,
        signal::Signal::SIGTTOU,
    ];
    let is_left = |number| left.iter().any(|signal| *signal as i32 == number);
    for number in 1..=nix::libc::SIGRTMAX() {
        if disposition(number) == Some(nix::libc::SIG_IGN) && !is_left(number) {
            // SAFETY: the default action installs no handler.
            unsafe { nix::libc::signal(number, nix::libc::SIG_DFL) };
        }
    }
    clear_mask();
    ignore_as_python_does();
}

fn clear_mask() {
    // It fails for no set of signals.
    let _ = signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

fn ignore_as_python_does() {
    for signal in IGNORED {
        // SAFETY: ignoring a signal installs no handler.
        let _ = unsafe { signal::signal(signal, SigHandler::SigIgn) };
    }
}

extern "C" fn nothing(_: i32) {}

/// Signals that are the master's business.
pub(super) const PASSING: [signal::Signal; 5] = [
    signal::Signal::SIGHUP,
    signal::Signal::SIGTTIN,
    signal::Signal::SIGTTOU,
    signal::Signal::SIGUSR1,
    UNUSED,
];

/// Lets signals pass by that are the master's business: some send them to all processes of a service at once (pkill,
/// `systemctl kill`, a terminal that is closed), and they would end this one. Not by ignoring them, which programs that
/// the application starts would inherit.
///
/// The process begins with no signal blocked, whatever the application has blocked where it was forked from (`--preload`).
pub fn let_pass() {
    for signal in PASSING {
        if signal != UNUSED || !is_of_application(UNUSED) {
            // SAFETY: the handler does nothing.
            let _ = unsafe { sigaction(signal, &action(nothing)) };
        }
    }
    ignore_as_python_does();
    clear_mask();
}

/// Ends the process without anything else being run: Python's own end would wait for threads that are to be left.
pub fn end_at_once(code: i32) -> ! {
    // SAFETY: _exit(2) touches nothing of this process.
    unsafe { nix::libc::_exit(code) }
}

/// Has SIGINT end the process as it ends one that is no Python, where Python would raise KeyboardInterrupt in whatever it runs.
/// What Python says that it does stays as it is.
pub fn end_of_interrupts() {
    let number = signal::Signal::SIGINT;
    let is_ignored = disposition(number as i32) == Some(nix::libc::SIG_IGN);
    if !is_ignored {
        // SAFETY: the default action installs no handler.
        let _ = unsafe { signal::signal(number, SigHandler::SigDfl) };
    }
}
