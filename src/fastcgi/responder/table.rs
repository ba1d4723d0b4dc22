//! What a responder watches, under one lock: the connections that wait, in which order those that have something to tell
//! have their turn, the acceptor, deadlines, and the end.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollEvent;

use super::super::clock::{lately, now};
use super::super::connection::Step;
use super::super::handoff::Note;
use super::Idle;
use super::acceptor::{Acceptor, Arrival, PAUSE};
use super::peer::{DRAIN_GRACE, Peer, Unread};
use super::poller::{Poller, ReadySource};
use super::queue::TurnQueue;
use super::waiting::Waiting;

/// How often deadlines are looked at while there are connections.
const SWEEP: Duration = Duration::from_secs(1);

/// How often deadlines are looked at while the responder drains.
const DRAIN_SWEEP: Duration = Duration::from_millis(100);

/// How soon what the handoff channel had no room for is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// Idle connections that are taken from the channel at once before others have their turn.
const BATCH: usize = 16;

#[derive(Debug)]
pub(super) struct Table {
    poller: Arc<Poller>,
    pub(super) acceptor: Acceptor,
    /// Connections that wait for an event.
    pub(super) waiting: Waiting,
    queue: TurnQueue,
    /// How many turns there were.
    turns: u64,
    /// Connections that wait outside the epoll set, since the watchdog can do nothing for them.
    pub(super) disarmed: Vec<RawFd>,
    /// When to try again what the channel had no room for.
    pub(super) retry: Option<Instant>,
    /// What is done with connections that become idle now that the end has begun.
    draining: Option<Idle>,
    pub(super) next_sweep: Duration,
}

/// A connection whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// It has something to tell, or room for what is to be sent.
    Waited(Box<Peer>),
    /// It has just been taken from a listener.
    New(Box<Peer>),
}

impl Table {
    pub(super) fn new(poller: Arc<Poller>, acceptor: Acceptor) -> Self {
        Self {
            poller,
            acceptor,
            waiting: Waiting::default(),
            queue: TurnQueue::default(),
            turns: 0,
            disarmed: Vec::new(),
            retry: None,
            draining: None,
            next_sweep: lately() + SWEEP,
        }
    }

    // ---- Turns -----------------------------------------------------------------------------------------------------

    /// These events were reported.
    pub(super) fn put(&mut self, events: &[EpollEvent]) {
        let last_turn = |fd| self.waiting.get(fd).map_or(u64::MAX, |peer| peer.turn);
        self.queue.put(events, last_turn);
    }

    /// Whose turn it is; nothing when the kernel is to be asked.
    pub(super) fn next(&mut self) -> Option<Turn> {
        self.look_at_end();
        while let Some(source) = self.queue.pop() {
            let peer = match source {
                ReadySource::Wake => None,
                ReadySource::Connection(fd) => self.take(fd),
                ReadySource::Handoff => self.receive(),
                ReadySource::Listener(index) => self.acceptor.accept_next(index),
            };
            if let Some(mut peer) = peer {
                self.turns += 1;
                peer.turn = self.turns;
                self.queue.put_back(source);
                return Some(match source {
                    ReadySource::Listener(_) => Turn::New(peer),
                    _ => Turn::Waited(peer),
                });
            }
        }
        None
    }

    /// Takes a connection that has something to tell out of those that wait.
    fn take(&mut self, fd: RawFd) -> Option<Box<Peer>> {
        let peer = self.waiting.remove(fd)?;
        let held = self.acceptor.held && self.draining.is_none();
        if held && peer.may_travel() && peer.unread() == Unread::Bytes {
            return self.poller.send_on(peer, Note::READABLE).err();
        }
        Some(peer)
    }

    /// Takes what other workers have sent: idle connections to wait here, and up to one on which something has come.
    fn receive(&mut self) -> Option<Box<Peer>> {
        for _ in 0..BATCH {
            match self.acceptor.receive()? {
                Arrival::Readable(peer) => return Some(peer),
                Arrival::Idle(peer) => self.insert(peer),
                Arrival::Wake => {}
            }
        }
        None
    }

    /// Has the connection wait for its next event.
    pub(super) fn insert(&mut self, mut peer: Box<Peer>) {
        peer.ready_since = None;
        let left = match self.draining {
            Some(idle) if peer.is_idle() => self.release(peer, idle),
            Some(_) => {
                hasten(&mut peer);
                Some(peer)
            }
            None => Some(peer),
        };
        if let Some(peer) = left {
            self.watch(peer);
        }
    }

    /// Puts a connection whose next request is ready behind the others that have something to tell, those included that the
    /// kernel has not told of yet.
    pub(super) fn postpone(&mut self, peer: Box<Peer>) {
        self.queue.postpone(peer.fd());
        self.insert(peer);
    }

    /// Puts the connection among those that wait, and into the epoll set.
    fn watch(&mut self, mut peer: Box<Peer>) {
        if let Err(error) = peer.watch(&self.poller.epoll) {
            self.acceptor
                .complain(&format!("a connection could not be watched: {error}"));
            return self.poller.close(*peer);
        }
        self.waiting.insert(peer);
    }

    fn insert_all(&mut self, all: VecDeque<Box<Peer>>) {
        for peer in all {
            self.insert(peer);
        }
    }

    /// Takes all who have connected, to wait for their requests.
    pub(super) fn accept_all(&mut self) {
        let all = self.acceptor.accept_all();
        self.insert_all(all);
    }

    /// Whether there is anything to do with connections beside those whose requests run: some on which a request has
    /// begun, or some to pass on.
    pub(super) fn has_work(&self) -> bool {
        let to_pass = self.poller.stopping() == Some(Idle::Pass)
            && (self.draining.is_none() || !self.waiting.is_empty());
        to_pass || self.waiting.iter().any(|peer| !peer.is_idle())
    }

    /// Whether the end has begun and nothing is left to do.
    pub(super) fn is_drained(&self) -> bool {
        self.is_draining() && self.waiting.is_empty()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    // ---- Deadlines and the end -------------------------------------------------------------------------------------

    /// Begins the end where it was said, and arranges the acceptor.
    fn look_at_end(&mut self) {
        let stopping = self.poller.stopping();
        // A request may still come on an idle connection for as long as the web server does not see it closed, so that at
        // the end of all they stay until there is a thread.
        let waits = self.acceptor.full && stopping == Some(Idle::Close);
        if let Some(idle) = stopping.filter(|_| self.draining != stopping && !waits) {
            self.drain(idle);
        }
        if waits && !self.acceptor.listeners.is_empty() {
            // But nobody else comes in: a balancer is to find the port closed, and to turn to other hosts.
            self.accept_all();
            self.acceptor.listeners.clear();
        }
        self.acceptor.arrange();
    }

    /// As [`Table::upkeep`], for a leader with the application.
    pub(super) fn upkeep_of_leader(&mut self) -> Option<Duration> {
        let timeout = self.upkeep();
        if self.queue.has_postponed() {
            Some(Duration::ZERO)
        } else {
            timeout
        }
    }

    /// Does what is due before a wait for events, and says how long that may be.
    pub(super) fn upkeep(&mut self) -> Option<Duration> {
        self.look_at_end();
        if self.waiting.is_empty() && self.acceptor.paused.is_none() {
            let open = self.poller.state.open.load(Ordering::Relaxed);
            return (open > 0).then_some(SWEEP);
        }
        let sweep = if self.is_draining() {
            DRAIN_SWEEP
        } else {
            SWEEP
        };
        if self.acceptor.paused.is_some() || self.retry.is_some() {
            let now = Instant::now();
            if self.acceptor.paused.is_some_and(|until| now >= until) {
                self.acceptor.end_pause(now);
            }
            if self.retry.is_some_and(|at| now >= at) {
                self.retry = None;
                self.send_on_again();
            }
        }
        let now = lately();
        if now >= self.next_sweep {
            self.next_sweep = now + sweep;
            self.sweep(now);
        }
        Some(match (self.retry, self.acceptor.paused) {
            (Some(_), _) => RETRY,
            (None, Some(_)) => PAUSE,
            (None, None) => sweep,
        })
    }

    /// Ends the connections whose time has come.
    fn sweep(&mut self, now: Duration) {
        for fd in self.waiting.those(|peer| peer.is_expired(now)) {
            let Some(mut peer) = self.waiting.remove(fd) else {
                continue;
            };
            match peer.expire(self.is_draining()) {
                Step::Receive | Step::Send(_) | Step::Linger => self.insert(peer),
                Step::Ready | Step::Close => self.poller.close(*peer),
            }
        }
    }

    /// Begins the end: closes the listeners, at the end of all after taking what has connected already, and parts with the
    /// idle connections. From now on `insert` does so with those that become idle.
    fn drain(&mut self, idle: Idle) {
        self.draining = Some(idle);
        self.acceptor.closed = true;
        self.next_sweep = lately() + DRAIN_SWEEP;
        self.acceptor.arrange();
        if idle == Idle::Close {
            self.accept_all();
            let sent = self.acceptor.receive_all();
            self.insert_all(sent);
        }
        self.acceptor.paused = None;
        self.acceptor.listeners.clear();
        self.waiting.iter_mut().for_each(hasten);
        self.release_idle(idle);
    }

    fn release_idle(&mut self, idle: Idle) {
        for fd in self.waiting.those(Peer::is_idle) {
            let Some(peer) = self.waiting.remove(fd) else {
                continue;
            };
            if let Some(left) = self.release(peer, idle) {
                let full = idle == Idle::Pass && left.may_travel();
                self.waiting.insert(left);
                if full {
                    return;
                }
            }
        }
    }

    /// Parts with an idle connection of a draining responder; gives it back when it has to stay for now.
    fn release(&mut self, mut peer: Box<Peer>, idle: Idle) -> Option<Box<Peer>> {
        match idle {
            Idle::Pass => {
                let left = self.poller.send_on(peer, Note::NOTHING).err();
                if left.is_some() {
                    self.retry_soon();
                }
                left
            }
            Idle::Close if peer.used => {
                if peer.unread() == Unread::Bytes {
                    return Some(peer);
                }
                self.poller.close(*peer);
                None
            }
            Idle::Close => {
                peer.hasten(lately() + DRAIN_GRACE);
                Some(peer)
            }
        }
    }

    /// Has the leader try again in a moment what the channel had no room for.
    fn retry_soon(&mut self) {
        if self.poller.handoff.is_some() && self.retry.is_none() {
            self.retry = Some(Instant::now() + RETRY);
            // The leader may have begun a longer wait.
            self.poller.notify();
        }
    }

    fn send_on_again(&mut self) {
        match self.draining {
            Some(Idle::Pass) => self.release_idle(Idle::Pass),
            Some(Idle::Close) => {}
            None => self.move_disarmed(),
        }
    }

    // ---- While all threads are in requests -------------------------------------------------------------------------
    //
    // The watchdog leads then. It accepts nothing, so that other processes get what is new, and gives other workers the
    // kept connections on which something comes. What it can do nothing for it takes out of the epoll set, where it would
    // be reported over and over, until a thread leads again.

    /// All threads are in requests from here on. `scratch`: for what lingering connections still send.
    pub(super) fn begin_meanwhile(&mut self, scratch: &mut [u8]) {
        self.acceptor.full = true;
        self.acceptor.arrange();
        self.acceptor.look_who_waits();
        // Who came first is passed on first.
        for fd in self.queue.take_connections() {
            self.move_on(fd, scratch);
        }
    }

    /// A thread is free again.
    pub(super) fn end_meanwhile(&mut self) {
        self.acceptor.full = false;
        for fd in std::mem::take(&mut self.disarmed) {
            // It may be gone, and another in its place.
            if let Some(peer) = self.waiting.remove(fd) {
                self.watch(peer);
            }
        }
        self.acceptor.arrange();
    }

    /// Does for those that have something to tell what can be done without the application.
    pub(super) fn move_all_on(&mut self, events: &[EpollEvent], scratch: &mut [u8]) {
        self.acceptor.look_who_waits();
        for event in events {
            if let ReadySource::Connection(fd) = ReadySource::of(event.data()) {
                self.move_on(fd, scratch);
            }
        }
    }

    fn move_on(&mut self, fd: RawFd, scratch: &mut [u8]) {
        let Some(mut peer) = self.waiting.remove(fd) else {
            return;
        };
        if peer.is_ready() {
            self.queue.postpone(fd);
            return self.disarm(peer);
        }
        if peer.needs_no_application() {
            return match peer.go_on(scratch) {
                Step::Close => self.poller.close(*peer),
                Step::Receive | Step::Send(_) | Step::Linger => self.insert(peer),
                Step::Ready => self.postpone(peer),
            };
        }
        if !peer.may_travel() {
            return self.disarm(peer);
        }
        match peer.unread() {
            Unread::End => self.poller.close(*peer),
            Unread::Nothing => self.watch(peer),
            // At the end of all nobody may be left to take it.
            Unread::Bytes if self.poller.stopping() == Some(Idle::Close) => self.disarm(peer),
            Unread::Bytes => {
                if let Err(peer) = self.poller.send_on(peer, Note::READABLE) {
                    self.disarm(peer);
                    self.retry_soon();
                }
            }
        }
    }

    /// Has the connection wait outside the epoll set.
    fn disarm(&mut self, mut peer: Box<Peer>) {
        peer.unwatch(&self.poller.epoll);
        peer.ready_since.get_or_insert_with(now);
        self.disarmed.push(peer.fd());
        self.waiting.insert(peer);
    }

    /// Tries again to give away what the channel had no room for.
    fn move_disarmed(&mut self) {
        for fd in std::mem::take(&mut self.disarmed) {
            let Some(peer) = self.waiting.remove(fd) else {
                continue;
            };
            let left = if self.retry.is_none() {
                self.poller.send_on(peer, Note::READABLE).err()
            } else {
                Some(peer)
            };
            if let Some(peer) = left {
                if peer.may_travel() {
                    self.retry_soon();
                }
                self.disarm(peer);
            }
        }
    }
}

/// A draining responder does not wait long for requests that have begun and are not whole.
fn hasten(peer: &mut Peer) {
    if peer.is_unfinished() {
        peer.hasten(lately() + DRAIN_GRACE);
    }
}
