//! What a responder watches: the connections that wait, and its doors, the listeners and the handoff channel.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Shutdown, shutdown};

use super::super::connection::{Connection, Unread};
use super::super::custody::Custody;
use super::super::handoff::Note;
use super::super::listener::{Accepted, Listener};
use super::upkeep::hurry;
use super::{Idle, Responder, Source};
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
    pub(super) waiting: BTreeMap<RawFd, Box<Connection>>,
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
            log::error!("the listeners could not be watched: {error}");
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
                let event = EpollEvent::new(flags, Source::LISTENER | index as u64);
                self.epoll.add(&listener.socket, event)?;
            }
        }
        if let Some(handoff) = &self.handoff {
            let room = self.shared.open.load(Ordering::Relaxed) < self.shared.limits.connections;
            if room && !table.receiving {
                table.receiving = true;
                self.epoll
                    .add(&handoff.from, EpollEvent::new(flags, Source::HANDOFF))?;
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
    pub(super) fn welcome(&self, index: usize) -> Option<Box<Connection>> {
        let mut table = self.table();
        if !table.listening {
            return None;
        }
        self.accept(&mut table, index).ok().flatten()
    }

    /// Takes one new connection: `Err` when there is none to be had at the moment.
    pub(super) fn accept(
        &self,
        table: &mut Table,
        index: usize,
    ) -> Result<Option<Box<Connection>>, ()> {
        let listener = table.listeners.get(index).ok_or(())?;
        let socket = match listener.accept(&self.allow) {
            Accepted::Socket(socket) => socket,
            Accepted::Refused => return Ok(None),
            Accepted::Nothing => return Err(()),
            Accepted::Exhausted => {
                self.pause_exhausted(table);
                return Err(());
            }
        };
        let open = self.shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = self.shared.limits.connections;
        if open > limit {
            table.complain(
                "all connections are in use (--max-connections): further requests are answered with 503; raise it, or \
                 lower the web server's keep-alive",
            );
        }
        if open >= limit + self.shared.turned_away {
            self.pause(table);
        }
        Ok(Some(Connection::new(
            socket,
            Arc::clone(&self.shared),
            open > limit,
        )))
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
    pub(super) fn take(&self, fd: RawFd) -> Option<Box<Connection>> {
        let mut table = self.table();
        let connection = table.waiting.remove(&fd)?;
        let held = table.held && table.draining.is_none();
        if held && connection.may_travel() && connection.unread() == Unread::Bytes {
            return self.send_on(connection, Note::READABLE).err();
        }
        Some(connection)
    }

    /// Leaves the connection to wait for its next event.
    pub(super) fn park(&self, connection: Box<Connection>) {
        // The lock is held until the connection is in the table, so that whoever leads finds it there on its event.
        self.insert(&mut self.table(), connection);
    }

    /// Does what [`Responder::park`] does.
    pub(super) fn insert(&self, table: &mut Table, mut connection: Box<Connection>) {
        if let Some(idle) = table.draining {
            hurry(&mut connection, idle);
        }
        let idle = table.draining.filter(|_| connection.is_idle());
        let left = match idle {
            Some(idle) => self.dismiss(table, connection, idle),
            None => Some(connection),
        };
        if let Some(connection) = left {
            self.watch_one(table, connection);
        }
    }

    /// Puts the connection among those that wait, and into the epoll set.
    pub(super) fn watch_one(&self, table: &mut Table, mut connection: Box<Connection>) {
        self.entrust(&mut connection);
        let fd = connection.as_fd().as_raw_fd();
        if !connection.registered {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, fd as u64);
            if let Err(error) = self.epoll.add(&*connection, event) {
                log::error!("a connection could not be watched: {error}");
                self.close(connection);
                return;
            }
            connection.registered = true;
        }
        table.waiting.insert(fd, connection);
    }

    /// Has a connection that waits for a request outlive this process.
    fn entrust(&self, connection: &mut Connection) {
        if !connection.may_travel() {
            return;
        }
        if let (Custody::None, Some(custodian)) = (&connection.custody, &self.custodian) {
            let receipt = custodian.deposit(connection.as_fd());
            connection.custody = receipt.map_or(Custody::Refused, Custody::Held);
        }
        connection.custody.note(connection.possession());
    }

    /// Closes the connection.
    pub(super) fn close(&self, mut connection: Box<Connection>) {
        if forked::has_forked()
            || connection.travelled
            || connection.custody.is_held()
            || connection.is_shared()
        {
            // Somebody else has the descriptor too.
            self.unregister(&mut connection);
            let _ = shutdown(connection.as_fd().as_raw_fd(), Shutdown::Both);
        }
    }

    pub(super) fn unregister(&self, connection: &mut Connection) {
        if connection.registered {
            let _ = self.epoll.delete(&*connection);
            connection.registered = false;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
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
