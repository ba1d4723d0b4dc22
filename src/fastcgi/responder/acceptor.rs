//! A responder's acceptor: the listeners and the channel from other workers, by which connections come in, and whether
//! any are taken from them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::super::AllowList;
use super::super::clock::now;
use super::super::handoff::{HandoffReceived, Note, PassedConnection};
use super::super::listener::{Accepted, Listener};
use super::Idle;
use super::peer::Peer;
use super::poller::{Poller, ReadySource};

/// How long nothing is taken after the process ran out of descriptors or connections.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How often the same trouble with new connections is told.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Where connections come in.
#[derive(Debug)]
pub(super) struct Acceptor {
    poller: Arc<Poller>,
    allow: AllowList,
    pub(super) listeners: Vec<Listener>,
    /// Whether the listeners are in the epoll set.
    listening: bool,
    /// Whether the channel from other workers is.
    receiving: bool,
    /// Until when they are shut, for want of descriptors or connections.
    pub(super) paused: Option<Instant>,
    /// Whether nothing new is to be taken until further notice.
    pub(super) held: bool,
    /// Whether they are because all threads are busy: the watchdog leads.
    pub(super) full: bool,
    /// Whether they are for good: the end has begun.
    pub(super) closed: bool,
    /// Since when somebody is known to wait at a listener, in nanoseconds of the monotonic clock.
    waits_since: Option<u64>,
    /// Messages that were sent only to wake others since the channel was seen empty.
    woken: u32,
    /// When trouble with new connections was last told.
    complained: Option<Instant>,
}

/// What came through the channel.
pub(super) enum Arrival {
    /// A connection on which something to read has come.
    Readable(Box<Peer>),
    /// One to wait for a request.
    Idle(Box<Peer>),
    /// A message without a connection.
    Wake,
}

impl Acceptor {
    /// One that accepts nothing yet.
    pub(super) fn new(poller: Arc<Poller>, allow: AllowList, listeners: Vec<Listener>) -> Self {
        Self {
            poller,
            allow,
            listeners,
            listening: false,
            receiving: false,
            paused: None,
            held: false,
            full: false,
            closed: false,
            waits_since: None,
            woken: 0,
            complained: None,
        }
    }

    /// Tells of trouble with new connections, unless some was told lately.
    pub(super) fn complain(&mut self, trouble: &str) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now >= last + COMPLAINT) {
            self.complained = Some(now);
            log::error!("{trouble}");
        }
    }

    /// Opens or shuts them as is due. What nobody comes to take here is then left to others.
    pub(super) fn arrange(&mut self) {
        let shut = self.paused.is_some() || self.held || self.full || self.closed;
        if shut {
            if self.shut() {
                self.wake_other();
            }
        } else if let Err(error) = self.open() {
            // What epoll_ctl(2) says of a descriptor that is closed, and of one that is a file's by now.
            if matches!(error, Errno::EBADF | Errno::EPERM | Errno::EINVAL) {
                return self.lose_listeners(error);
            }
            self.complain(&format!("the listeners could not be watched: {error}"));
            self.shut();
            self.paused = Some(Instant::now() + PAUSE);
        }
    }

    /// Puts the listeners into the epoll set, and the channel where there is room for more connections. With
    /// EPOLLEXCLUSIVE a new connection wakes one of the processes that share a listener, the one that slept last.
    ///
    /// # Errors
    /// When the kernel has no memory for that, or a descriptor is not what it was.
    pub(super) fn open(&mut self) -> nix::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        if !self.listening {
            self.listening = true;
            for (index, listener) in self.listeners.iter().enumerate() {
                let event = EpollEvent::new(flags, ReadySource::LISTENER | index as u64);
                self.poller.epoll.add(&listener.socket, event)?;
            }
        }
        if let Some(handoff) = &self.poller.handoff {
            let state = &self.poller.state;
            let room = state.open.load(Ordering::Relaxed) < state.rules.limits.connections;
            if room && !self.receiving {
                self.receiving = true;
                self.poller
                    .epoll
                    .add(&handoff.from, EpollEvent::new(flags, ReadySource::HANDOFF))?;
            } else if !room && self.receiving {
                self.receiving = false;
                let _ = self.poller.epoll.delete(&handoff.from);
                self.wake_other();
            }
        }
        Ok(())
    }

    /// Takes them out of the epoll set: by hand also where they are closed afterwards, as other processes have them open.
    /// Whether any was in it.
    pub(super) fn shut(&mut self) -> bool {
        let open = self.listening || self.receiving;
        if self.listening {
            self.listening = false;
            for listener in &self.listeners {
                let _ = self.poller.epoll.delete(&listener.socket);
            }
        }
        if self.receiving {
            self.stop_receiving();
        }
        open
    }

    fn stop_receiving(&mut self) {
        self.receiving = false;
        if let Some(handoff) = &self.poller.handoff {
            let _ = self.poller.epoll.delete(&handoff.from);
        }
    }

    /// Takes the listeners out of the epoll set and puts them back, upon which the kernel looks whether anybody waits.
    fn look_again(&mut self) {
        if self.listening && self.shut() {
            self.arrange();
        }
    }

    /// Takes nothing new for a moment.
    fn pause(&mut self) {
        if self.paused.replace(Instant::now() + PAUSE).is_none() {
            self.arrange();
        }
    }

    fn pause_exhausted(&mut self) {
        self.complain(
            "no new connection can be taken: the process or the system has no descriptors or memory left; raise the limit \
             of open files (ulimit -n, LimitNOFILE=) or lower --max-connections",
        );
        self.pause();
    }

    /// Ends a pause whose time is over, unless there is no room still.
    pub(super) fn end_pause(&mut self, now: Instant) {
        let state = &self.poller.state;
        let full = state.rules.limits.connections + state.turned_away;
        let still = state.open.load(Ordering::Relaxed) >= full;
        self.paused = still.then_some(now + PAUSE);
        self.arrange();
    }

    // ---- The listeners ---------------------------------------------------------------------------------------------

    /// All threads are busy: notes since when somebody waits at a listener, which the kernel does not tell.
    pub(super) fn look_who_waits(&mut self) {
        if self.waits_since.is_none() && self.someone_waits() {
            self.waits_since = Some(now());
        }
    }

    /// Takes one new connection of those that were told of.
    pub(super) fn accept_next(&mut self, index: usize) -> Option<Box<Peer>> {
        /// What the kernel goes on reporting of a closed descriptor cannot be taken out of the epoll set.
        const STUCK: Duration = Duration::from_millis(1);
        if self.poller.is_lost() {
            std::thread::sleep(STUCK);
        }
        if !self.listening {
            return None;
        }
        // Another worker may have taken who was seen: then it is a little more than this one has waited.
        let waits_since = self.waits_since.take();
        match self.accept(index) {
            Ok(accepted) => accepted.map(|mut peer| {
                peer.ready_since = Some(waits_since.unwrap_or(u64::MAX));
                peer
            }),
            Err(Some(error)) => {
                self.lose_listeners(error);
                None
            }
            Err(None) => None,
        }
    }

    /// Has nothing to do with the listeners any more. Their numbers may be those of other files by now, so that they are not
    /// closed.
    fn lose_listeners(&mut self, error: Errno) {
        self.poller.lose("a listening socket", error, Idle::Pass);
        self.shut();
        self.wake_other();
        for listener in self.listeners.drain(..) {
            listener.abandon();
        }
    }

    /// Takes one new connection: `Err` when there is none to be had at the moment, or, with an error, never again.
    fn accept(&mut self, index: usize) -> Result<Option<Box<Peer>>, Option<Errno>> {
        let listener = self.listeners.get(index).ok_or(None)?;
        let socket = match listener.accept(&self.allow) {
            Accepted::Socket(socket) => socket,
            Accepted::Refused => return Ok(None),
            Accepted::Nothing => return Err(None),
            Accepted::Exhausted => {
                self.pause_exhausted();
                return Err(None);
            }
            Accepted::Failed(error) => {
                self.complain(&format!("a connection could not be taken: {error}"));
                self.pause();
                return Err(None);
            }
            Accepted::Broken(error) => return Err(Some(error)),
        };
        let state = Arc::clone(&self.poller.state);
        let open = state.count_opened();
        let limit = state.rules.limits.connections;
        if open > limit {
            self.complain(
                "all connections are in use (--max-connections): further requests are answered with 503; raise it, or \
                 lower the web server's keep-alive",
            );
        }
        if open >= limit + state.turned_away {
            self.pause();
        }
        Ok(Some(Peer::new(socket, &state, open > limit)))
    }

    /// Takes all who have connected.
    pub(super) fn accept_all(&mut self) -> VecDeque<Box<Peer>> {
        let mut all = VecDeque::new();
        for index in 0..self.listeners.len() {
            while let Ok(accepted) = self.accept(index) {
                all.extend(accepted);
            }
        }
        all
    }

    // ---- The channel from other workers ----------------------------------------------------------------------------

    /// Whether connections are taken from the channel.
    #[cfg(test)]
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving
    }

    /// Takes one message, where there is one.
    pub(super) fn receive(&mut self) -> Option<Arrival> {
        let handoff = self.poller.handoff.as_ref().filter(|_| self.receiving)?;
        let message = match handoff.receive() {
            HandoffReceived::Message(message) => message,
            HandoffReceived::Nothing => return None,
            HandoffReceived::Exhausted => {
                self.pause_exhausted();
                return None;
            }
            HandoffReceived::Broken(error) => {
                self.stop_receiving();
                let what = "the channel between workers";
                self.poller.lose(what, error, Idle::Close);
                return None;
            }
        };
        let note = message.note;
        if note.has(Note::LOOK) {
            self.look_again();
        }
        let peer = self.admit(message);
        // There may be no room for more.
        self.arrange();
        Some(match peer {
            Some(peer) if note.has(Note::READABLE) => Arrival::Readable(peer),
            Some(peer) => Arrival::Idle(peer),
            None => Arrival::Wake,
        })
    }

    /// Takes all that other workers have sent.
    pub(super) fn receive_all(&mut self) -> VecDeque<Box<Peer>> {
        let mut all = VecDeque::new();
        while let Some(HandoffReceived::Message(message)) =
            self.poller.handoff.as_ref().map(|it| it.receive())
        {
            all.extend(self.admit(message));
        }
        all
    }

    /// Makes a connection of this responder of what was received.
    fn admit(&self, message: PassedConnection) -> Option<Box<Peer>> {
        let mut peer = self.adopt(message.socket?);
        peer.used = message.note.has(Note::USED);
        peer.travelled = true;
        Some(peer)
    }

    /// A connection of new socket, which this responder has from here on.
    fn adopt(&self, socket: OwnedFd) -> Box<Peer> {
        let state = &self.poller.state;
        state.count_opened();
        Peer::new(socket, state, false)
    }

    /// Wakes another worker for what this one may have been woken for and does not come to take. What waits in the channel
    /// stays where it is there: who was passed on first is served first.
    fn wake_other(&mut self) {
        /// Messages for no more than this. While some are unread nobody is asleep who could read them.
        const MOST: u32 = 4;
        let Some(handoff) = &self.poller.handoff else {
            return;
        };
        let is_empty = !is_readable(handoff.from.as_fd());
        let someone_waits = self.someone_waits();
        if is_empty {
            self.woken = 0;
        }
        if (someone_waits || !is_empty) && self.woken < MOST {
            self.woken += 1;
            handoff.wake(someone_waits);
        }
    }

    /// Whether anybody has connected to a listener and was not taken yet.
    fn someone_waits(&self) -> bool {
        let mut sockets = self.listeners.iter().map(|it| it.socket.as_fd());
        sockets.any(is_readable)
    }
}

fn is_readable(socket: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
