//! What the threads of a worker have in common: its slot, its channel to the master, the limits of time, and what it is
//! told and tells.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::PythonRuntime;
use super::access_log::AccessLog;
use super::error::send_files;
use super::failure::Failure;
use super::service::FastcgiService;
use super::watched::WatchedThreads;
use crate::fastcgi::{FastcgiExchange, Idle, Responder};
use crate::process::{
    self, Channel, ChildMessage, Running, SignalMeaning, StackPipe, StackSignals, WorkerSlot,
};

/// What the threads of a worker have in common.
pub(super) struct WorkerContext {
    pub(super) slot: WorkerSlot,
    pub(super) channel: Option<Channel>,
    pub(super) limits: TimeLimits,
    pub(super) access_log: Option<AccessLog>,
    /// The request of each thread, to be answered and interrupted when it has had its time.
    pub(super) watched: Arc<WatchedThreads>,
    pub(super) responder: OnceLock<Arc<Responder>>,
    pub(super) stacks: StackPipe,
    /// Python, once it has been started.
    pub(super) python: OnceLock<&'static dyn PythonRuntime>,
    /// The signal that interrupts the main thread's request, where Python has a meaning for it.
    timeout_signal: OnceLock<SignalMeaning>,
    /// Whether the stack signals have a meaning.
    pub(super) has_stacks: AtomicBool,
    pub(super) retiring: AtomicBool,
    /// Whether a replacement was tried and cannot be made.
    has_no_replacement: AtomicBool,
    /// Whether there is a text in `trouble`.
    pub(super) is_in_trouble: AtomicBool,
    pub(super) trouble: Mutex<String>,
    /// Since when it serves.
    pub(super) ready: OnceLock<Instant>,
}

/// Which of the application's threads is the one that Python takes for its main one.
const MAIN_THREAD: usize = 0;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimits {
    pub(super) request: Option<Duration>,
    pub(super) kill_after: Duration,
    pub(super) slow: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
    pub(super) grace: Duration,
}

/// How long a thread may take to write its stack, and one that may be none of Python's.
const WRITES: Duration = Duration::from_secs(1);
const MAY_WRITE: Duration = Duration::from_millis(50);

/// So many threads are asked for theirs.
const MOST_THREADS: usize = 64;

/// The names of threads that never run Python.
const OWN_THREADS: [&str; 2] = ["controller", "watchdog"];

/// A number that differs from process to process.
pub(super) fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

impl WorkerContext {
    pub(super) fn new(
        slot: WorkerSlot,
        number: u32,
        channel: Option<Channel>,
        service: &FastcgiService,
    ) -> Result<Self, Failure> {
        let (times, recycling) = (&service.settings().times, &service.settings().recycling);
        let watched = times.request.map_or(0, |_| service.threads());
        // Workers that were started together shall not all be replaced together.
        let shorten =
            |lifetime: Duration| lifetime.mul_f64(1.0 - 0.1 * (random() % 1000) as f64 / 1000.0);
        Ok(Self {
            access_log: AccessLog::new(service, number, &slot)?,
            slot,
            channel,
            limits: TimeLimits {
                request: times.request,
                kill_after: times.kill_after,
                slow: times.slow,
                lifetime: recycling.lifetime.map(shorten),
                grace: times.grace,
            },
            watched: Arc::new(WatchedThreads::new(watched)),
            responder: OnceLock::new(),
            stacks: StackPipe::new().map_err(Failure::Stacks)?,
            python: OnceLock::new(),
            timeout_signal: OnceLock::new(),
            has_stacks: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            has_no_replacement: AtomicBool::new(false),
            is_in_trouble: AtomicBool::new(false),
            trouble: Mutex::default(),
            ready: OnceLock::new(),
        })
    }

    /// The application has this request from here on, on the thread that calls this: it may be answered in its place.
    pub(super) fn watch(&self, thread: usize, begun: u64, exchange: &Arc<FastcgiExchange>) {
        self.watched.begin(thread, begun, exchange, self.python());
    }

    /// The application is done with it.
    pub(super) fn unwatch(&self, thread: usize) {
        self.watched.end(thread, self.python());
    }

    fn python(&self) -> Option<&'static dyn PythonRuntime> {
        self.python.get().copied()
    }

    /// Has the application leave this request by an exception, if it still is at it. Never waits.
    pub(super) fn interrupt(&self, request: &Running) {
        let (thread, begun) = (request.thread, request.begun);
        let (Some(python), true) = (self.python(), self.watched.ask(thread, begun)) else {
            return;
        };
        let signal = self.timeout_signal.get();
        if let Some(signal) = signal.filter(|_| thread == MAIN_THREAD) {
            if signal.send_to(request.tid) {
                return;
            }
        }
        let watched = Arc::clone(&self.watched);
        // Python's lock may be kept by the very thread that is to be interrupted.
        let raise = move || python.raise_timeout(&|raise| watched.raise(thread, begun, raise));
        if let Err(error) = std::thread::Builder::new().spawn(raise) {
            log::warn!("a request cannot be interrupted: {error}");
        }
    }

    pub(super) fn has_master(&self) -> bool {
        self.channel.is_some()
    }

    /// Has Python write stacks when it is asked to, from here on.
    pub(super) fn begin_python(&self, python: &'static dyn PythonRuntime) {
        let _ = self.python.set(python);
        process::die_of_faults();
        let signals = StackSignals::get();
        let fd = self.stacks.writing_end();
        match python.write_stacks_on(signals.one, signals.all, fd) {
            Ok(()) => {
                self.stacks.begin();
                self.has_stacks.store(true, Ordering::Release);
            }
            Err(error) => log::warn!("stacks cannot be written: {error}"),
        }
        if self.limits.request.is_some() && !self.limits.kill_after.is_zero() {
            self.begin_interrupting(python);
        }
    }

    /// Has a signal raise the exception on the main thread: one that Python takes for a signal of the application's ends
    /// nearly all waits there, where an exception for a thread waits until that runs Python code again.
    fn begin_interrupting(&self, python: &dyn PythonRuntime) {
        let watched = Arc::clone(&self.watched);
        let is_due = Box::new(move || watched.is_due(MAIN_THREAD));
        let signal = SignalMeaning::timeout_signal();
        match python.raise_timeout_on(signal, is_due) {
            Ok(()) => drop(self.timeout_signal.set(SignalMeaning::of(signal))),
            Err(error) => log::debug!("no signal interrupts the main thread: {error}"),
        }
    }

    /// From here on this is what the worker serves with.
    pub(super) fn serve(&self, responder: &Arc<Responder>) {
        let _ = self.responder.set(Arc::clone(responder));
    }

    /// The worker has all that it needs to serve.
    pub(super) fn is_ready(&self) {
        match &self.channel {
            Some(_) => self.tell(&ChildMessage::Ready),
            None => log::info!("ready on standard input"),
        }
        let _ = self.ready.set(Instant::now());
    }

    /// The worker has drained, and Python is about to end.
    pub(super) fn has_served(&self) {
        self.flush_lines();
        if self.channel.is_none() {
            log::info!("ended");
        }
    }

    /// Lines of requests are to be on their way before the process ends.
    pub(super) fn flush_lines(&self) {
        self.access_log.iter().for_each(AccessLog::flush);
    }

    pub(super) fn tell(&self, message: &ChildMessage) {
        if let Some(channel) = &self.channel {
            // A master that has died is noticed by the controller.
            let _ = channel.send(message);
        }
    }

    /// Tells of the files that the application consists of, one a line.
    pub(super) fn tell_files(&self, files: &str) {
        send_files(self.channel.as_ref(), files);
    }

    /// All threads are in requests. Must not block.
    pub(super) fn full(&self) {
        if let Some(channel) = &self.channel {
            let _ = channel.send_now(&ChildMessage::Full);
        }
    }

    /// The worker has reached a limit and asks to be replaced; without a master it ends, and who started it starts
    /// another.
    pub(super) fn retire(&self, limit: &str) {
        if self.retiring.swap(true, Ordering::Relaxed) {
            return;
        }
        match (&self.channel, self.responder.get()) {
            (Some(_), _) => self.tell(&ChildMessage::Retire(limit.to_owned())),
            (None, Some(responder)) => {
                log::info!("{limit} is reached: ending");
                responder.stop(Idle::Close);
            }
            (None, None) => {}
        }
    }

    /// The worker can take nothing new any more: it ends, and is to be replaced.
    pub(super) fn has_lost(&self, reason: &str) {
        log::error!("{reason}: ending");
        self.tell(&ChildMessage::Leaving(reason.to_owned()));
    }

    /// The worker's first request has broken a limit already (named with its figures), as that of any other worker would.
    pub(super) fn outgrow(&self, limit: &str) {
        match &self.channel {
            Some(_) => self.tell(&ChildMessage::Outgrown(limit.to_owned())),
            None => log::warn!(
                "the first request has taken more than {limit}: give it more, or leave it out"
            ),
        }
    }

    /// The worker takes nothing new until it is replaced.
    pub(super) fn hold(&self) {
        if let (Some(_), Some(responder)) = (&self.channel, self.responder.get()) {
            if !self.has_no_replacement.load(Ordering::Acquire) {
                responder.hold(true);
            }
        }
    }

    /// There is nobody to replace the worker, so that it takes requests whatever it has reached.
    pub(super) fn resume(&self) {
        self.has_no_replacement.store(true, Ordering::Release);
        if let Some(responder) = self.responder.get() {
            responder.hold(false);
        }
    }

    /// What to answer with instead of the application's answer, if anything.
    pub(super) fn trouble(&self) -> Option<String> {
        self.is_in_trouble
            .load(Ordering::Relaxed)
            .then(|| self.lock_trouble().clone())
    }

    pub(super) fn set_trouble(&self, text: String) {
        self.is_in_trouble
            .store(!text.is_empty(), Ordering::Relaxed);
        *self.lock_trouble() = text;
    }

    fn lock_trouble(&self) -> MutexGuard<'_, String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stack of this thread.
    pub(super) fn stack(&self, tid: i32) -> String {
        self.written(|signals| self.stacks.ask(Some(tid), signals.one, WRITES))
    }

    /// The stacks of all threads, written by one of them: that looks at the others while they run, and may crash of it. For a
    /// process that is about to end.
    pub(super) fn last_stacks(&self) -> String {
        self.written(|signals| self.stacks.ask(None, signals.all, WRITES))
    }

    /// The stacks of all threads, each written by itself, which does no harm; this one's first, if one is named.
    pub(super) fn all_stacks(&self, first: Option<i32>) -> String {
        let mut threads = process::other_threads();
        threads.sort_by_key(|(tid, _)| (Some(*tid) != first, *tid));
        self.written(|signals| {
            let mut all = Vec::new();
            for (tid, name) in threads.iter().take(MOST_THREADS) {
                // The others are none of Python's, or the application's own.
                let is_main = u32::try_from(*tid) == Ok(std::process::id());
                let is_ours = is_main || Some(*tid) == first || name.starts_with("application");
                let wait = if is_ours { WRITES } else { MAY_WRITE };
                if OWN_THREADS.contains(&&**name) {
                    continue;
                }
                let stack = self.stacks.ask(Some(*tid), signals.one, wait);
                let frames = stack.split_once('\n').map_or("", |(_, frames)| frames);
                if !frames.is_empty() {
                    all.push(format!("Thread {tid} (most recent call first):\n{frames}"));
                }
            }
            all.join("\n\n")
        })
    }

    fn written(&self, ask: impl FnOnce(StackSignals) -> String) -> String {
        if !self.has_stacks.load(Ordering::Acquire) {
            return "Python has not been started yet".to_owned();
        }
        let stacks = ask(StackSignals::get());
        if stacks.is_empty() {
            "no stack was written: the thread does not take signals, or the application has a use of its own for this one".to_owned()
        } else {
            stacks
        }
    }
}
