//! What a responder does beside serving: pauses when there is no room, deadlines, and its end.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::super::connection::Step;
use super::super::limits::TURNED_AWAY;
use super::{Leader, Responder, SWEEP, Source, Table};

/// How often the same trouble with new connections is told.
const COMPLAINT: Duration = Duration::from_secs(10);

/// How long no listener is asked after the process ran out of descriptors.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection on which nothing came yet may hold up the end of a draining responder.
const FRESH_GRACE: Duration = Duration::from_secs(1);

impl Table {
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
    /// Puts the listeners into the epoll set. With EPOLLEXCLUSIVE a new connection wakes one of the processes that
    /// share a listener, the one that slept last.
    pub(super) fn listen(&self, table: &Table) -> nix::Result<()> {
        for (index, listener) in table.listeners.iter().enumerate() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
            let event = EpollEvent::new(flags, Source::LISTENER | index as u64);
            self.epoll.add(&listener.socket, event)?;
        }
        Ok(())
    }

    /// Asks no listener for a moment.
    pub(super) fn pause(&self, table: &mut Table) {
        if table.paused.replace(Instant::now() + PAUSE).is_none() {
            for listener in &table.listeners {
                let _ = self.epoll.delete(&listener.socket);
            }
        }
    }

    /// Ends pauses and connections whose time has come.
    pub(super) fn housekeeping(&self) {
        let mut table = self.table();
        if table.waiting.is_empty() && table.paused.is_none() {
            return;
        }
        let now = Instant::now();
        if table.paused.is_some_and(|until| now >= until) {
            table.paused = None;
            if self.shared.open.load(Ordering::Relaxed)
                >= self.shared.limits.connections + TURNED_AWAY
            {
                table.paused = Some(now + PAUSE);
            } else if let Err(error) = self.listen(&table) {
                log::error!("the listeners could not be watched again: {error}");
                table.paused = Some(now + PAUSE);
            }
        }
        if now < table.next_sweep {
            return;
        }
        table.next_sweep = now + SWEEP;
        let expired: Vec<RawFd> = table
            .waiting
            .iter()
            .filter(|(_, connection)| now >= connection.deadline)
            .map(|(&fd, _)| fd)
            .collect();
        for fd in expired {
            let Some(mut connection) = table.waiting.remove(&fd) else {
                continue;
            };
            match connection.expire() {
                Step::Wait => {
                    table.waiting.insert(fd, connection);
                }
                Step::Ready | Step::Close => self.close(connection),
            }
        }
    }

    /// Begins the end: takes what has connected already, then closes the listeners and the idle connections, but for
    /// those that have a request waiting to be read. `false`: this thread leads no more, and who does goes on here.
    pub(super) fn drain(&self, leader: &mut Leader<'_>) -> bool {
        let listeners = self.table().listeners.len();
        for index in 0..listeners {
            while let Ok(accepted) = self.accept(index) {
                if accepted.is_some_and(|connection| !self.handle(connection, leader)) {
                    return false;
                }
            }
        }
        self.close_listeners();
        let waiting: Vec<RawFd> = self.table().waiting.keys().copied().collect();
        for fd in waiting {
            let Some(mut connection) = self.take(fd) else {
                continue;
            };
            if connection.is_untouched() {
                connection.deadline = connection.deadline.min(Instant::now() + FRESH_GRACE);
            }
            if !self.handle(connection, leader) {
                return false;
            }
        }
        self.table().draining = true;
        true
    }

    fn close_listeners(&self) {
        let mut table = self.table();
        if table.paused.take().is_none() {
            // By hand: the process that gave us a listener may have it open still, and then closing alone would leave it
            // in the set.
            for listener in &table.listeners {
                let _ = self.epoll.delete(&listener.socket);
            }
        }
        table.listeners.clear();
    }
}
