//! What a responder watches: the connections that wait, and its doors, the listeners and the handoff channel.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};

use super::super::handoff::Note;
use super::super::listener::{Accepted, Listener};
use super::peer::{Peer, Unread};
use super::{Idle, ReadySource, Responder};
use crate::gateway::forked;

/// How often deadlines are looked at while there are connections.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// How long nothing is taken after the process ran out of descriptors or connections.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How often the same trouble with new connections is told.
const COMPLAINT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Table {
    /// Connections that wait for an event, by descriptor.
    pub(super) waiting: BTreeMap<RawFd, Box<Peer>>,
    /// Connections whose requests are ready and have not found a thread.
    pub(super) ready: VecDeque<Box<Peer>>,
    pub(super) listeners: Vec<Listener>,
    /// Whether the listeners are in the epoll set.
    listening: bool,
    /// Whether the handoff channel is.
    pub(super) receiving: bool,
    /// Until when the doors are shut, for want of descriptors or connections.
    pub(super) paused: Option<Instant>,
    /// Whether they are shut by order.
    pub(super) held: bool,
    /// Whether they are because all threads are busy: the watchdog leads.
    pub(super) full: bool,
    /// Connections that wait outside the epoll set, since the watchdog can do nothing for them.
    pub(super) benched: Vec<RawFd>,
    /// When to try again what the channel had no room for.
    pub(super) retry: Option<Instant>,
    /// When trouble with new connections was last told.
    complained: Option<Instant>,
    /// What is done with connections that become idle now that the end has begun.
    pub(super) draining: Option<Idle>,
    pub(super) next_sweep: Instant,
}

impl Table {
    pub(super) fn new(listeners: Vec<Listener>) -> Self {
        Self {
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            listeners,
            listening: false,
            receiving: false,
            paused: None,
            held: false,
            full: false,
            benched: Vec::new(),
            retry: None,
            complained: None,
            draining: None,
            next_sweep: Instant::now() + SWEEP,
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
}

impl Responder {
    /// Opens or shuts the doors as the table says. What nobody comes to take here is then left to others.
    pub(super) fn arrange(&self, table: &mut Table) {
        let shut = table.paused.is_some() || table.held || table.full || table.draining.is_some();
        if shut {
            if self.shut_doors(table) {
                self.rouse(table);
            }
        } else if let Err(error) = self.open_doors(table) {
            // What epoll_ctl(2) says of a descriptor that is closed, and of one that is a file's by now.
            if matches!(error, Errno::EBADF | Errno::EPERM | Errno::EINVAL) {
                self.lose("a listening socket", error, Idle::Pass);
                self.abandon_listeners(table);
                return;
            }
            table.complain(&format!("the listeners could not be watched: {error}"));
            self.shut_doors(table);
            table.paused = Some(Instant::now() + PAUSE);
        }
    }

    /// Puts the listeners into the epoll set, and the handoff channel where there is room for more connections. With
    /// EPOLLEXCLUSIVE a new connection wakes one of the processes that share a listener, the one that slept last.
    pub(super) fn open_doors(&self, table: &mut Table) -> nix::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        if !table.listening {
            table.listening = true;
            for (index, listener) in table.listeners.iter().enumerate() {
                let event = EpollEvent::new(flags, ReadySource::LISTENER | index as u64);
                self.epoll.add(&listener.socket, event)?;
            }
        }
        if let Some(handoff) = &self.handoff {
            let room =
                self.state.open.load(Ordering::Relaxed) < self.state.rules.limits.connections;
            if room && !table.receiving {
                table.receiving = true;
                self.epoll
                    .add(&handoff.from, EpollEvent::new(flags, ReadySource::HANDOFF))?;
            } else if !room && table.receiving {
                table.receiving = false;
                let _ = self.epoll.delete(&handoff.from);
                self.rouse(table);
            }
        }
        Ok(())
    }

    /// Takes the doors out of the epoll set: by hand also where they are closed afterwards, as other processes have them
    /// open. Whether any was in it.
    pub(super) fn shut_doors(&self, table: &mut Table) -> bool {
        let open = table.listening || table.receiving;
        if table.listening {
            table.listening = false;
            for listener in &table.listeners {
                let _ = self.epoll.delete(&listener.socket);
            }
        }
        if let Some(handoff) = self.handoff.as_ref().filter(|_| table.receiving) {
            table.receiving = false;
            let _ = self.epoll.delete(&handoff.from);
        }
        open
    }

    /// Takes the listeners out of the epoll set and puts them back, upon which the kernel looks whether anybody waits.
    pub(super) fn look_again(&self, table: &mut Table) {
        if table.listening && self.shut_doors(table) {
            self.arrange(table);
        }
    }

    /// Takes nothing new for a moment.
    pub(super) fn pause(&self, table: &mut Table) {
        if table.paused.replace(Instant::now() + PAUSE).is_none() {
            self.arrange(table);
        }
    }

    /// Takes one new connection for the leader.
    pub(super) fn welcome(&self, index: usize) -> Option<Box<Peer>> {
        /// What the kernel goes on reporting of a closed descriptor cannot be taken out of the epoll set.
        const STUCK: Duration = Duration::from_millis(1);
        if self.is_lost() {
            std::thread::sleep(STUCK);
        }
        let mut table = self.table();
        if !table.listening {
            return None;
        }
        match self.accept(&mut table, index) {
            Ok(accepted) => accepted,
            Err(Some(error)) => {
                self.lose("a listening socket", error, Idle::Pass);
                self.abandon_listeners(&mut table);
                None
            }
            Err(None) => None,
        }
    }

    /// Has nothing to do with the listeners any more. Their numbers may be those of other files by now, so that they are not
    /// closed.
    fn abandon_listeners(&self, table: &mut Table) {
        self.shut_doors(table);
        self.rouse(table);
        for listener in table.listeners.drain(..) {
            listener.abandon();
        }
    }

    /// Takes one new connection: `Err` when there is none to be had at the moment, or, with an error, never again.
    pub(super) fn accept(
        &self,
        table: &mut Table,
        index: usize,
    ) -> Result<Option<Box<Peer>>, Option<Errno>> {
        let listener = table.listeners.get(index).ok_or(None)?;
        let socket = match listener.accept(&self.allow) {
            Accepted::Socket(socket) => socket,
            Accepted::Refused => return Ok(None),
            Accepted::Nothing => return Err(None),
            Accepted::Exhausted => {
                self.pause_exhausted(table);
                return Err(None);
            }
            Accepted::Failed(error) => {
                table.complain(&format!("a connection could not be taken: {error}"));
                self.pause(table);
                return Err(None);
            }
            Accepted::Broken(error) => return Err(Some(error)),
        };
        let open = self.state.open.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.state.rules.limits.connections;
        if open > limit {
            table.complain(
                "all connections are in use (--max-connections): further requests are answered with 503; raise it, or \
                 lower the web server's keep-alive",
            );
        }
        if open >= limit + self.state.turned_away {
            self.pause(table);
        }
        Ok(Some(Peer::new(socket, &self.state, open > limit)))
    }

    /// Takes all who have connected, to wait for their requests.
    pub(super) fn accept_all(&self, table: &mut Table) {
        for index in 0..table.listeners.len() {
            while let Ok(accepted) = self.accept(table, index) {
                if let Some(connection) = accepted {
                    self.insert(table, connection);
                }
            }
        }
    }

    pub(super) fn pause_exhausted(&self, table: &mut Table) {
        table.complain(
            "no new connection can be taken: the process or the system has no descriptors or memory left; raise the limit \
             of open files (ulimit -n, LimitNOFILE=) or lower --max-connections",
        );
        self.pause(table);
    }

    /// Takes a connection that has something to tell out of those that wait.
    pub(super) fn take(&self, fd: RawFd) -> Option<Box<Peer>> {
        let mut table = self.table();
        let peer = table.waiting.remove(&fd)?;
        let held = table.held && table.draining.is_none();
        if held && peer.may_travel() && peer.unread() == Unread::Bytes {
            return self.send_on(peer, Note::READABLE).err();
        }
        Some(peer)
    }

    /// Takes a connection whose request is ready and has not found a thread before.
    pub(super) fn take_ready(&self) -> Option<Box<Peer>> {
        self.table().ready.pop_front()
    }

    /// Leaves the connection to wait for its next event.
    pub(super) fn park(&self, peer: Box<Peer>) {
        // The lock is held until the connection is in the table, so that whoever leads finds it there on its event.
        self.insert(&mut self.table(), peer);
    }

    /// Does what [`Responder::park`] does.
    pub(super) fn insert(&self, table: &mut Table, mut peer: Box<Peer>) {
        let left = match table.draining {
            Some(idle) if peer.is_idle() => self.dismiss(table, peer, idle),
            Some(_) => {
                self.hasten(&mut peer);
                Some(peer)
            }
            None => Some(peer),
        };
        if let Some(peer) = left {
            self.watch_one(table, peer);
        }
    }

    /// A connection of new socket, which this responder has from here on.
    pub(super) fn adopt(&self, socket: OwnedFd) -> Box<Peer> {
        self.state.open.fetch_add(1, Ordering::Relaxed);
        Peer::new(socket, &self.state, false)
    }

    /// Puts the connection among those that wait, and into the epoll set.
    pub(super) fn watch_one(&self, table: &mut Table, mut peer: Box<Peer>) {
        if let Err(error) = peer.watch(&self.epoll) {
            table.complain(&format!("a connection could not be watched: {error}"));
            return self.close(*peer);
        }
        table.waiting.insert(peer.fd(), peer);
    }

    /// Closes the connection.
    pub(super) fn close(&self, peer: Peer) {
        peer.close(&self.epoll, forked::has_forked());
    }
}

/// The timeout in the kernel's milliseconds, rounded up: a wait that ends too early would be begun again at once.
pub(super) fn epoll_timeout(timeout: Option<Duration>) -> EpollTimeout {
    let Some(timeout) = timeout else {
        return EpollTimeout::NONE;
    };
    let up = Duration::from_millis(1) - Duration::from_nanos(1);
    EpollTimeout::try_from(timeout.saturating_add(up)).unwrap_or(EpollTimeout::MAX)
}
