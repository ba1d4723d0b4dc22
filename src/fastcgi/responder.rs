//! A responder: listeners and connections in one epoll set, and the application threads that serve them.
//!
//! One thread leads: it waits for events, reads and assembles requests, and calls the application.
//! Connections stay level-triggered in the set; the one whose request runs is taken out only when another thread comes
//! to lead meanwhile, so a short request on a kept connection costs no system call but its own read and write.
//!
//! # Who has a connection
//!
//! At any moment it is in one place: in the table of those that wait, in the hand of the one thread that took it out of
//! there, or in the handoff channel. So no request is answered twice, and none is lost on the way:
//!
//! - Only one thread waits for events (`leader`). An event says merely that a connection should be looked at: who finds it
//!   gone from the table leaves it, so a turn that is left of one does no harm. Turns are the responder's: the next leader
//!   goes on with those that the one before has left.
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
//!   it, `Acceptor::wake_other` wakes another.
//!
//! Who of those that have something to tell is next, says `queue`.

mod acceptor;
mod patience;
mod peer;
mod poller;
mod queue;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollEvent;
use nix::sys::resource::{Resource, getrlimit};

use super::connection::Step;
use super::exchange::FastcgiExchange;
use super::leader::Leadership;
use super::listener::Listener;
use super::{AllowList, Handoff, Limits, ResponderState, clock, standard};
use crate::gateway::Bookkeeper;
use acceptor::Acceptor;
use patience::Patience;
use peer::Peer;
use poller::Poller;
use table::{Table, Turn};

/// A mean wall time of requests above which leadership is passed before the application is called.
const LONG: Duration = Duration::from_micros(200);

const EVENTS: usize = 64;
const SCRATCH: usize = 64 * 1024;
/// How often it is told that all threads are busy, while they are.
const TOLD: Duration = Duration::from_millis(50);

/// Serves FastCGI connections with the threads that call [`Responder::run`].
#[derive(Debug)]
pub struct Responder {
    poller: Arc<Poller>,
    threads: usize,
    /// Whether threads run Python code at the same time, so that polling alone is what a leader should do.
    parallel: bool,
    leadership: Leadership,
    table: Mutex<Table>,
    patience: Patience,
    /// Threads that run the application without leadership.
    busy: AtomicUsize,
    /// The registered connection whose request the leader runs, or -1.
    running: AtomicI32,
    /// Running mean of the requests' wall time in nanoseconds.
    mean: AtomicU32,
    /// When the first request of those that the last events have told of was given to the application, in nanoseconds of the
    /// monotonic clock: the others have waited since then. 0 before that.
    reported: AtomicU64,
}

/// What a responder that ends does with idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// They go to other workers, which also get the connections that nobody has taken yet.
    Pass,
    /// They are closed, those excepted that have a request to be read; and what has connected already is served.
    Close,
}

/// The thread that leads, with its buffer and its way to the application.
struct Leader<'a> {
    turn: u64,
    scratch: &'a mut [u8],
    serve: &'a mut dyn FnMut(&Arc<FastcgiExchange>),
}

impl Leader<'_> {
    /// Has the application answer the request that is ready, and says what the connection needs next. `reported`: see
    /// [`Responder::reported`]. Two threads may look at that at once, and one request's wait be taken for none.
    fn answer(&mut self, peer: &mut Peer, reported: &AtomicU64) -> Step {
        let now = clock::now();
        let since = peer.ready_since.take().unwrap_or_else(|| {
            let reported_at = reported.load(Ordering::Relaxed);
            if reported_at == 0 {
                reported.store(now, Ordering::Relaxed);
            }
            reported_at
        });
        let waited = if since == 0 {
            0
        } else {
            now.saturating_sub(since)
        };
        let Some(exchange) = peer.begin(now, waited) else {
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
    /// handoff channel it gives connections to the other responders on that channel and takes theirs. `tally` keeps count of
    /// what needs no application.
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
        tally: Arc<dyn Bookkeeper>,
    ) -> nix::Result<Self> {
        let (open_files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        standard::fill();
        let poller = Poller::new(ResponderState::new(limits, open_files, tally), handoff)?;
        let mut acceptor = Acceptor::new(Arc::clone(&poller), allow, listeners);
        acceptor.open()?;
        Ok(Self {
            table: Mutex::new(Table::new(Arc::clone(&poller), acceptor)),
            poller,
            threads,
            parallel,
            leadership: Leadership::new(threads),
            patience: Patience::default(),
            busy: AtomicUsize::new(0),
            running: AtomicI32::new(-1),
            mean: AtomicU32::new(0),
            reported: AtomicU64::new(0),
        })
    }

    /// The same responder, which calls this once when its listeners or its channel have stopped working, because the application
    /// has closed them, or shut them down. It must not wait for the responder, which has begun to drain then.
    pub fn telling_of_loss(self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.poller.tell_of_loss(tell);
        self
    }

    /// Whether it has come to that.
    pub fn is_lost(&self) -> bool {
        self.poller.is_lost()
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
        while let Some(turn) = self.leadership.take(|| self.poller.notify()) {
            leader.turn = turn;
            self.lead(&mut leader);
            self.busy.fetch_sub(1, Ordering::AcqRel);
            if self.poller.stopping().is_some() {
                // Who leads now may wait for nothing but this.
                self.poller.notify();
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
                let _ = self.poller.epoll.delete(socket);
            }
        };
        self.leadership
            .watch(relieve, || self.lead_meanwhile(on_full));
    }

    /// Begins to drain: what is open is answered, idle connections are passed on or closed, then every
    /// [`Responder::run`] returns. [`Idle::Pass`] is for a worker that others outlive, [`Idle::Close`] for the end of
    /// all; the latter may follow the former. May be called from any thread, more than once.
    pub fn stop(&self, idle: Idle) {
        self.poller.stop(idle);
    }

    /// Ends at once, with nothing answered or passed on: every [`Responder::run`] returns after its request, and
    /// [`Responder::watch`], also where none has begun. For a process that cannot go on.
    pub fn give_up(&self) {
        self.poller.break_off();
        self.leadership.end();
        self.poller.notify();
    }

    /// Whether a responder that was told to stop still has to do with connections beside those whose requests run: some
    /// on which a request has begun, or some to pass on.
    pub fn has_work(&self) -> bool {
        self.table().has_work()
    }

    /// While held, nothing new is taken, and kept connections go to other workers when a request comes on them. Running
    /// requests go on. May be called from any thread.
    pub fn hold(&self, held: bool) {
        let mut table = self.table();
        table.acceptor.held = held;
        table.acceptor.arrange();
    }

    /// Takes new connections from these listeners from now on, after those that wait at the old ones, which are then
    /// closed. May be called from any thread.
    pub fn replace_listeners(&self, listeners: Vec<Listener>) {
        let mut table = self.table();
        if table.is_draining() {
            return;
        }
        table.accept_all();
        table.acceptor.shut();
        table.acceptor.listeners = listeners;
        table.acceptor.arrange();
        drop(table);
        // A pause may have begun, whose end the leader does not know of.
        self.poller.notify();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls and serves until leadership is lost or all is over.
    fn lead(&self, leader: &mut Leader<'_>) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut reported = None;
        loop {
            let mut table = self.table();
            if let Some(count) = reported.take() {
                table.put(&events[..count]);
            }
            if let Some(turn) = table.next() {
                drop(table);
                if !self.take_turn(turn, leader) {
                    return;
                }
                continue;
            }
            let timeout = table.upkeep_of_leader();
            let is_drained = table.is_drained();
            drop(table);
            if self.poller.is_broken() || (is_drained && self.busy.load(Ordering::Acquire) == 0) {
                self.busy.fetch_add(1, Ordering::AcqRel);
                self.leadership.end();
                return;
            }
            reported = Some(self.poller.wait(&mut events, timeout));
            self.reported.store(0, Ordering::Relaxed);
        }
    }

    /// Leads without the application, since all threads are in requests, until one of them wants leadership.
    fn lead_meanwhile(&self, on_full: &dyn Fn()) {
        /// For what lingering connections still send.
        const SCRATCH: usize = 4 * 1024;
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut scratch = [0; SCRATCH];
        self.table().begin_meanwhile(&mut scratch);
        on_full();
        let mut told = Instant::now();
        while !self.leadership.is_wanted() {
            let until = TOLD.saturating_sub(told.elapsed());
            let timeout = self.table().upkeep();
            let timeout = timeout.map_or(until, |timeout| timeout.min(until));
            let count = self.poller.wait(&mut events, Some(timeout));
            self.table().move_all_on(&events[..count], &mut scratch);
            if told.elapsed() >= TOLD {
                on_full();
                told = Instant::now();
            }
        }
        self.table().end_meanwhile();
    }

    /// Does what the connection waits for, and what follows from it. `false`: this thread leads no more.
    fn take_turn(&self, turn: Turn, leader: &mut Leader<'_>) -> bool {
        match turn {
            Turn::Waited(mut peer) => {
                let step = peer.go_on(leader.scratch);
                self.serve(peer, step, leader)
            }
            Turn::New(mut peer) => {
                let mut step = peer.go_on(leader.scratch);
                if step != Step::Receive || !peer.is_idle() {
                    self.patience.was_rewarded();
                } else if self.patience.await_request(&peer) {
                    step = peer.go_on(leader.scratch);
                }
                self.serve(peer, step, leader)
            }
        }
    }

    /// Has the connection's requests answered, and leaves it to wait or to end. `false`: this thread leads no more.
    fn serve(&self, mut peer: Box<Peer>, mut step: Step, leader: &mut Leader<'_>) -> bool {
        let mut leads = true;
        loop {
            match step {
                Step::Receive | Step::Send(_) | Step::Linger => {
                    self.table().insert(peer);
                    return leads;
                }
                Step::Close => {
                    self.poller.close(*peer);
                    return leads;
                }
                Step::Ready => step = self.call(&mut peer, leader, &mut leads),
            }
            if step == Step::Ready {
                // Its next request was sent ahead, and others may have waited longer.
                self.table().postpone(peer);
                if !leads {
                    self.poller.notify();
                }
                return leads;
            }
        }
    }

    /// Has the application answer the request, with or without leadership in hand.
    fn call(&self, peer: &mut Peer, leader: &mut Leader<'_>, leads: &mut bool) -> Step {
        if self.threads == 1 {
            if *leads {
                return self.call_watched(peer, leader, leads);
            }
            return leader.answer(peer, &self.reported);
        }
        let mean = Duration::from_nanos(u64::from(self.mean.load(Ordering::Relaxed)));
        if *leads && (self.parallel || mean > LONG) {
            peer.unwatch(&self.poller.epoll);
            self.busy.fetch_add(1, Ordering::AcqRel);
            self.leadership.pass();
            *leads = false;
        }
        let begun = Instant::now();
        let step = if *leads {
            self.call_watched(peer, leader, leads)
        } else {
            leader.answer(peer, &self.reported)
        };
        self.count_time(begun.elapsed());
        step
    }

    /// Has the application answer the request with leadership in hand, until the watchdog takes it away.
    fn call_watched(&self, peer: &mut Peer, leader: &mut Leader<'_>, leads: &mut bool) -> Step {
        let running = if peer.is_watched() { peer.fd() } else { -1 };
        self.running.store(running, Ordering::Release);
        self.leadership.begin_run();
        let step = leader.answer(peer, &self.reported);
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
