//! A responder: listeners and connections in one epoll set, and the application threads that serve them.
//!
//! The thread with leadership leads: it waits for events, reads and assembles requests, and calls the application.
//! Connections stay level-triggered in the set; the one whose request runs is taken out only when another thread comes
//! to lead meanwhile, so a short request on a kept connection costs no system call but its own read and write.
//!
//! # Who has a connection
//!
//! At any moment it is in one place: in the table of those that wait, in the hand of the one thread that took it out of
//! there, or in the handoff channel. So no request is answered twice, and none is lost on the way:
//!
//! - Only one thread waits for events (`leader`). An event says merely that a connection should be looked at: who finds it
//!   gone from the table leaves it, so what is in the batch of a leader that has lost leadership does no harm, and as the
//!   set is level-triggered it is reported again to the next one.
//! - A connection is sent to the channel by who has it in hand, when nothing of a request was read. It leaves our epoll
//!   set after that and before our descriptor is closed: the kernel would keep it there for as long as any process has
//!   the connection open. Our copy is only closed, never shut down.
//! - What is to be done is said by state that every leader looks at before it waits (`stopping`, the table), and the event
//!   descriptor only wakes the one who waits. So it does not matter which leader gets that event.
//! - Whether what has just become idle is still wanted is looked at under the table's lock, under which draining begins:
//!   nothing slips in behind the one look at all who wait.
//! - No other process has a copy. One that is killed takes its kept connections with it: the kernel closes them, and the
//!   web server learns at once that what it has sent there is not answered.
//! - A new connection or message wakes one of the processes that wait (EPOLLEXCLUSIVE). When that one then cannot take
//!   it, `handoff::rouse` wakes another.

mod handoff;
mod peer;
mod table;
#[cfg(test)]
mod tests;
mod upkeep;
mod watchdog;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{Resource, getrlimit};

use super::connection::Step;
use super::exchange::FastcgiExchange;
use super::leader::Leadership;
use super::listener::Listener;
use super::{AllowList, Handoff, Limits, ResponderState, standard};
use peer::Peer;
use table::Table;

/// A mean wall time of requests above which leadership is passed before the application is called.
const LONG: Duration = Duration::from_micros(200);

const EVENTS: usize = 64;
const SCRATCH: usize = 64 * 1024;

/// Serves FastCGI connections with the threads that call [`Responder::run`].
#[derive(Debug)]
pub struct Responder {
    state: Arc<ResponderState>,
    allow: AllowList,
    threads: usize,
    /// Whether threads run Python code at the same time, so that polling alone is what a leader should do.
    parallel: bool,
    handoff: Option<Handoff>,
    epoll: Epoll,
    wake: EventFd,
    leadership: Leadership,
    table: Mutex<Table>,
    /// Threads that run the application without leadership.
    busy: AtomicUsize,
    /// The registered connection whose request the leader runs, or -1.
    running: AtomicI32,
    /// Running mean of the requests' wall time in nanoseconds.
    mean: AtomicU32,
    /// New connections that are not to be waited for, and how many those were the last time; 0 after one that was quick.
    spared: AtomicU32,
    silent: AtomicU32,
    /// Whether and how the end has come: one of the constants of `end`.
    stopping: AtomicU8,
    /// Why nothing new can be taken any more.
    lost: OnceLock<String>,
    on_loss: OnLoss,
}

/// What is done when nothing new can be taken any more.
struct OnLoss(Box<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for OnLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLoss")
    }
}

/// The states of [`Responder::stopping`], each of which the later ones override.
mod end {
    pub(super) const NOT_YET: u8 = 0;
    pub(super) const PASS: u8 = 1;
    pub(super) const CLOSE: u8 = 2;
    /// A thread has panicked.
    pub(super) const BROKEN: u8 = 3;
}

/// What a responder that ends does with idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// They go to other workers, which also get the connections that nobody has taken yet.
    Pass,
    /// They are closed, those excepted that have a request to be read; and what has connected already is served.
    Close,
}

/// What an epoll event is about.
enum ReadySource {
    Wake,
    Handoff,
    Listener(usize),
    Connection(RawFd),
}

impl ReadySource {
    /// The event's 64 bits of data: a connection's are its descriptor.
    const WAKE: u64 = u64::MAX;
    const HANDOFF: u64 = u64::MAX - 1;
    const LISTENER: u64 = 1 << 32;

    fn of(data: u64) -> Self {
        match RawFd::try_from(data) {
            Ok(fd) => Self::Connection(fd),
            Err(_) if data == Self::WAKE => Self::Wake,
            Err(_) if data == Self::HANDOFF => Self::Handoff,
            Err(_) => Self::Listener(usize::try_from(data ^ Self::LISTENER).unwrap_or(usize::MAX)),
        }
    }
}

/// The thread that leads, with its buffer and its way to the application.
struct Leader<'a> {
    turn: u64,
    scratch: &'a mut [u8],
    serve: &'a mut dyn FnMut(&Arc<FastcgiExchange>),
}

impl Leader<'_> {
    /// Has the application answer the request that is ready, and says what the connection needs next.
    fn answer(&mut self, peer: &mut Peer) -> Step {
        let Some(exchange) = peer.begin() else {
            return Step::Close;
        };
        (self.serve)(&exchange);
        peer.finish(exchange)
    }
}

/// Has the other threads return when one panics, so that the process ends and is not left without a leader.
struct EndsOnPanic<'a>(&'a Responder);

impl Drop for EndsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

impl Responder {
    /// A responder on these listeners for `threads` application threads, which may run Python code `parallel`ly. With a
    /// handoff channel it gives connections to the other responders on that channel and takes theirs.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance or event descriptor.
    pub fn new(
        listeners: Vec<Listener>,
        handoff: Option<Handoff>,
        limits: Limits,
        allow: AllowList,
        threads: usize,
        parallel: bool,
    ) -> nix::Result<Self> {
        let (open_files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        standard::fill();
        let responder = Self {
            state: Arc::new(ResponderState::new(limits, open_files)),
            allow,
            threads,
            parallel,
            handoff,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            leadership: Leadership::new(threads),
            table: Mutex::new(Table::new(listeners)),
            busy: AtomicUsize::new(0),
            running: AtomicI32::new(-1),
            mean: AtomicU32::new(0),
            spared: AtomicU32::new(0),
            silent: AtomicU32::new(0),
            stopping: AtomicU8::new(end::NOT_YET),
            lost: OnceLock::new(),
            on_loss: OnLoss(Box::new(|_| {})),
        };
        let wake = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, ReadySource::WAKE);
        responder.epoll.add(&responder.wake, wake)?;
        responder.open_doors(&mut responder.table())?;
        Ok(responder)
    }

    /// The same responder, which calls this once when its listeners or its channel have stopped working, because the application
    /// has closed them, or shut them down. It must not wait for the responder, which has begun to drain then.
    pub fn telling_of_loss(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_loss = OnLoss(Box::new(tell));
        self
    }

    /// Whether it has come to that.
    pub fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Something that nothing new can be taken without has stopped working.
    fn lose(&self, what: &str, error: Errno, idle: Idle) {
        let text = format!(
            "{what} does not work any more ({error}): the application has closed or shut down what is not its own \
             (os.closerange?)"
        );
        if self.lost.set(text.clone()).is_ok() {
            (self.on_loss.0)(&text);
            self.stop(idle);
        }
    }

    /// Serves requests until the responder has drained. Every application thread calls this once; `serve` has the
    /// application answer a request.
    pub fn run(&self, serve: &mut dyn FnMut(&Arc<FastcgiExchange>)) {
        let _broken = EndsOnPanic(self);
        let mut scratch = vec![0; SCRATCH];
        let mut leader = Leader {
            turn: 0,
            scratch: &mut scratch,
            serve,
        };
        while let Some(turn) = self.leadership.take(|| self.notify()) {
            leader.turn = turn;
            self.lead(&mut leader);
            self.busy.fetch_sub(1, Ordering::AcqRel);
            if self.stopping().is_some() {
                // Who leads now may wait for nothing but this.
                self.notify();
            }
        }
    }

    /// Looks after the application threads, from a thread that never runs the application, until the responder has
    /// drained: passes leadership on for threads whose requests take long, and when all are in requests for some 5 ms
    /// gives other workers what this one cannot serve. `on_full` is called then, and about every 50 ms while that lasts;
    /// it must not block.
    ///
    /// Needed where there is more than one thread or a handoff channel; may begin after requests have.
    pub fn watch(&self, on_full: &dyn Fn()) {
        let relieve = || {
            self.busy.fetch_add(1, Ordering::AcqRel);
            let running = self.running.swap(-1, Ordering::AcqRel);
            if running >= 0 {
                // SAFETY: the descriptor belongs to the connection whose request the leader runs. The leader learns
                // that it has lost leadership under the lock that is held here, and closes nothing before.
                let socket = unsafe { BorrowedFd::borrow_raw(running) };
                let _ = self.epoll.delete(socket);
            }
        };
        self.leadership
            .watch(relieve, || self.lead_meanwhile(on_full));
    }

    /// Begins to drain: what is open is answered, idle connections are passed on or closed, then every
    /// [`Responder::run`] returns. [`Idle::Pass`] is for a worker that others outlive, [`Idle::Close`] for the end of
    /// all; the latter may follow the former. May be called from any thread, more than once.
    pub fn stop(&self, idle: Idle) {
        let idle = match idle {
            Idle::Pass if self.handoff.is_some() => end::PASS,
            Idle::Pass | Idle::Close => end::CLOSE,
        };
        self.stopping.fetch_max(idle, Ordering::AcqRel);
        self.notify();
    }

    /// Ends at once, with nothing answered or passed on: every [`Responder::run`] returns after its request, and
    /// [`Responder::watch`], also where none has begun. For a process that cannot go on.
    pub fn give_up(&self) {
        self.stopping.store(end::BROKEN, Ordering::Release);
        self.leadership.end();
        self.notify();
    }

    /// Whether a responder that was told to stop still has to do with connections beside those whose requests run: some
    /// on which a request has begun, or some to pass on.
    pub fn has_work(&self) -> bool {
        let table = self.table();
        let to_pass = self.stopping() == Some(Idle::Pass)
            && (table.draining.is_none() || !table.waiting.is_empty());
        to_pass || !table.ready.is_empty() || table.waiting.values().any(|peer| !peer.is_idle())
    }

    fn stopping(&self) -> Option<Idle> {
        match self.stopping.load(Ordering::Acquire) {
            end::NOT_YET => None,
            end::PASS => Some(Idle::Pass),
            _ => Some(Idle::Close),
        }
    }

    /// While held, nothing new is taken, and kept connections go to other workers when a request comes on them. Running
    /// requests go on. May be called from any thread.
    pub fn hold(&self, held: bool) {
        let mut table = self.table();
        table.held = held;
        self.arrange(&mut table);
    }

    /// Takes new connections from these listeners from now on, after those that wait at the old ones, which are then
    /// closed. May be called from any thread.
    pub fn replace_listeners(&self, listeners: Vec<Listener>) {
        let mut table = self.table();
        if table.draining.is_some() {
            return;
        }
        self.accept_all(&mut table);
        self.shut_doors(&mut table);
        table.listeners = listeners;
        self.arrange(&mut table);
        drop(table);
        // A pause may have begun, whose end the leader does not know of.
        self.notify();
    }

    fn notify(&self) {
        // Failing means that the counter is full, so that a wake-up is due anyway.
        let _ = self.wake.write(1);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls and serves until leadership is lost or all is over.
    fn lead(&self, leader: &mut Leader<'_>) {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let timeout = self.upkeep();
            if let Some(peer) = self.take_ready() {
                if !self.serve(peer, Step::Ready, leader) {
                    return;
                }
                continue;
            }
            if self.is_over() {
                self.busy.fetch_add(1, Ordering::AcqRel);
                self.leadership.end();
                return;
            }
            let count = self.wait(&mut events, timeout);
            let events = &mut events[..count];
            // Who is here already before who is new: what waits in this process is lost should it be killed, while from the
            // listeners any other can take it.
            events.sort_by_key(|event| event.data() >= ReadySource::LISTENER);
            for event in events {
                let ready = match ReadySource::of(event.data()) {
                    ReadySource::Wake => None,
                    ReadySource::Handoff => self.receive(),
                    ReadySource::Listener(index) => {
                        self.welcome(index).and_then(|new| self.greet(new))
                    }
                    ReadySource::Connection(fd) => self.take(fd),
                };
                let kept = ready.is_none_or(|peer| self.handle(peer, leader));
                if !kept {
                    // What else was reported is reported again to who leads now.
                    return;
                }
            }
        }
    }

    /// Waits for events, and says how many there are.
    fn wait(&self, events: &mut [EpollEvent], timeout: Option<Duration>) -> usize {
        match self.epoll.wait(events, table::epoll_timeout(timeout)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => {
                // The application has closed a descriptor that is not its own. Trying again would keep a processor busy
                // for ever.
                log::error!(
                    "the worker cannot go on, its descriptors are gone (os.closerange?): epoll_wait failed: {error}"
                );
                self.stopping.store(end::BROKEN, Ordering::Release);
                0
            }
        }
    }

    fn is_over(&self) -> bool {
        match self.stopping.load(Ordering::Acquire) {
            end::NOT_YET => return false,
            end::BROKEN => return true,
            _ if self.busy.load(Ordering::Acquire) > 0 => return false,
            _ => {}
        }
        let table = self.table();
        table.draining.is_some() && table.waiting.is_empty() && table.ready.is_empty()
    }

    /// Waits a moment for the request of a new connection, which some web servers send with it and others just after it.
    ///
    /// So as a rule no more than one connection was taken from the listener and not read yet, which would be lost should the
    /// process be killed, and a quick request needs no place in the epoll set. Web servers that connect ahead are not waited for:
    /// the more of them there are in a row, the less often it is tried.
    fn greet(&self, peer: Box<Peer>) -> Option<Box<Peer>> {
        /// Milliseconds.
        const MOMENT: u8 = 1;
        const MOST: u32 = 1024;
        let spared = self.spared.load(Ordering::Relaxed);
        if spared > 0 {
            self.spared.store(spared - 1, Ordering::Relaxed);
            return Some(peer);
        }
        let mut fds = [PollFd::new(peer.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(MOMENT)) != Ok(0) {
            self.silent.store(0, Ordering::Relaxed);
            return Some(peer);
        }
        let silent = (self.silent.load(Ordering::Relaxed) * 2).clamp(16, MOST);
        self.silent.store(silent, Ordering::Relaxed);
        self.spared.store(silent, Ordering::Relaxed);
        self.park(peer);
        None
    }

    /// Does what the connection waits for, and what follows from it. `false`: this thread leads no more.
    fn handle(&self, mut peer: Box<Peer>, leader: &mut Leader<'_>) -> bool {
        let step = peer.go_on(leader.scratch);
        self.serve(peer, step, leader)
    }

    /// Has the connection's requests answered, and leaves it to wait or to end. `false`: this thread leads no more.
    fn serve(&self, mut peer: Box<Peer>, mut step: Step, leader: &mut Leader<'_>) -> bool {
        let mut leads = true;
        loop {
            match step {
                Step::Receive | Step::Send(_) | Step::Linger => {
                    self.park(peer);
                    return leads;
                }
                Step::Close => {
                    self.close(*peer);
                    return leads;
                }
                Step::Ready => step = self.call(&mut peer, leader, &mut leads),
            }
        }
    }

    /// Has the application answer the request, with or without leadership in hand.
    fn call(&self, peer: &mut Peer, leader: &mut Leader<'_>, leads: &mut bool) -> Step {
        if self.threads == 1 {
            if *leads {
                return self.call_watched(peer, leader, leads);
            }
            return leader.answer(peer);
        }
        let mean = Duration::from_nanos(u64::from(self.mean.load(Ordering::Relaxed)));
        if *leads && (self.parallel || mean > LONG) {
            peer.unwatch(&self.epoll);
            self.busy.fetch_add(1, Ordering::AcqRel);
            self.leadership.pass();
            *leads = false;
        }
        let begun = Instant::now();
        let step = if *leads {
            self.call_watched(peer, leader, leads)
        } else {
            leader.answer(peer)
        };
        self.count_time(begun.elapsed());
        step
    }

    /// Has the application answer the request with leadership in hand, until the watchdog takes it away.
    fn call_watched(&self, peer: &mut Peer, leader: &mut Leader<'_>, leads: &mut bool) -> Step {
        let running = if peer.is_watched() { peer.fd() } else { -1 };
        self.running.store(running, Ordering::Release);
        self.leadership.begin_run();
        let step = leader.answer(peer);
        *leads = self.leadership.end_run(leader.turn);
        if !*leads {
            peer.was_unwatched();
        }
        step
    }

    /// Two threads may do this at once and lose one's figure: it is a mean, not an account.
    fn count_time(&self, took: Duration) {
        let took = i64::from(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        let mean = i64::from(self.mean.load(Ordering::Relaxed));
        let mean = u32::try_from(mean + (took - mean) / 8).unwrap_or(u32::MAX);
        self.mean.store(mean, Ordering::Relaxed);
    }
}
