//! A connection as the event loop has it: what it waits for, until when, and whether another process may have it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, Shutdown, recv};

use super::super::clock::lately;
use super::super::connection::{Awaits, Connection, Step};
use super::super::exchange::FastcgiExchange;
use super::super::limits::LINGER;
use super::super::link::{Flushed, Got, Link};
use super::super::{Limits, ResponderState};

/// A connection of the event loop.
#[derive(Debug)]
pub(super) struct Peer {
    link: Arc<Link>,
    /// When the connection is closed if nothing happens on it, and what for it waits until then.
    deadline: Duration,
    awaits: Awaits,
    /// For what it is in the epoll set; `None` when it is not.
    interest: Option<EpollFlags>,
    /// Whether our side is closed and only the web server's close is waited for.
    lingering: bool,
    /// Whether a request was ever answered on it.
    pub(super) used: bool,
    /// Since when it is known to wait for a thread, in nanoseconds of the monotonic clock: later than now where that cannot be
    /// known, nothing where it is since the last report of events.
    pub(super) ready_since: Option<u64>,
    /// When it last had its turn, as a number that grows with each.
    pub(super) turn: u64,
    /// Whether it came from another worker, which may still have a copy of its descriptor.
    pub(super) travelled: bool,
}

/// What the web server has sent that was not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    Bytes,
    /// Its close, or an error.
    End,
}

impl Peer {
    pub(super) fn new(
        socket: OwnedFd,
        state: &Arc<ResponderState>,
        turned_away: bool,
    ) -> Box<Self> {
        Box::new(Self {
            deadline: lately() + state.rules.limits.idle_timeout,
            link: Link::new(socket, Arc::clone(state), turned_away),
            awaits: Awaits::Request,
            interest: None,
            lingering: false,
            used: false,
            ready_since: None,
            turn: 0,
            travelled: false,
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.link.as_fd().as_raw_fd()
    }

    fn limits(&self) -> &Limits {
        &self.link.state().rules.limits
    }

    /// Whether somebody else still has the socket: the sender, or a thread of the application that waits for the body.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.link) > 1
    }

    /// Whether no request is open and none has begun.
    pub(super) fn is_idle(&self) -> bool {
        !self.lingering && self.link.lock().is_idle()
    }

    /// Whether another process can go on with it: nothing of a request is here, and nobody here still sends on it.
    pub(super) fn may_travel(&self) -> bool {
        !self.lingering && !self.is_shared() && self.link.lock().may_travel()
    }

    /// Whether a request has begun on it whose variables are not whole, or only its close is awaited.
    pub(super) fn is_unfinished(&self) -> bool {
        let connection = self.link.lock();
        self.lingering || connection.awaits() == Awaits::Head
    }

    /// Whether its request only waits for the application.
    pub(super) fn is_ready(&self) -> bool {
        !self.lingering && self.link.lock().step() == Step::Ready
    }

    /// Whether it needs no application: something is to be sent, or its close is awaited.
    pub(super) fn needs_no_application(&self) -> bool {
        self.lingering || matches!(self.link.lock().step(), Step::Send(_))
    }

    /// Whether its time has passed, and with nothing waiting to be read, or for the application: what came in time and finds
    /// all threads busy is not late.
    pub(super) fn is_expired(&self, now: Duration) -> bool {
        if now < self.deadline {
            return false;
        }
        let step = self.link.lock().step();
        match step {
            Step::Ready => false,
            Step::Send(_) => true,
            _ => self.lingering || self.unread() != Unread::Bytes,
        }
    }

    /// It may wait no longer than until then.
    pub(super) fn hasten(&mut self, latest: Duration) {
        self.deadline = self.deadline.min(latest);
    }

    /// What is here to be read, without reading it.
    pub(super) fn unread(&self) -> Unread {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        loop {
            return match recv(self.fd(), &mut [0], flags) {
                Ok(0) => Unread::End,
                Ok(_) => Unread::Bytes,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Unread::Nothing,
                Err(_) => Unread::End,
            };
        }
    }

    /// Reads or sends, as the connection waits for, once, and says what it needs next. `scratch` is the thread's reading
    /// buffer.
    pub(super) fn go_on(&mut self, scratch: &mut [u8]) -> Step {
        let link = Arc::clone(&self.link);
        let mut connection = link.lock();
        if self.lingering {
            return match link.read(scratch) {
                Got::End => Step::Close,
                Got::Bytes(_) | Got::Nothing => Step::Linger,
            };
        }
        let mut takes_nothing_until = None;
        let reads = match connection.step() {
            Step::Receive => true,
            Step::Send(reads) => {
                let flushed = link.flush(&mut connection);
                if flushed == Flushed::Blocked(false) {
                    takes_nothing_until = Some(self.deadline);
                }
                if let Flushed::All | Flushed::Blocked(true) = flushed {
                    // A slow peer is not a silent one.
                    self.deadline = lately() + self.limits().io_timeout;
                }
                reads && matches!(flushed, Flushed::Blocked(_))
            }
            _ => false,
        };
        if reads {
            match link.read(scratch) {
                Got::Bytes(count) => connection.receive(&scratch[..count]),
                Got::Nothing => {}
                Got::End => connection.end_of_input(),
            }
        }
        let step = self.settle(&mut connection);
        if let (Some(deadline), Step::Send(_)) = (takes_nothing_until, step) {
            // What it sends meanwhile does not make it a peer that takes what is sent to it.
            self.deadline = deadline;
        }
        step
    }

    /// The request of the connection, for the application, which begins with it now. `waited`: nanoseconds that it is known to
    /// have waited for that.
    pub(super) fn begin(&self, now: u64, waited: u64) -> Option<Arc<FastcgiExchange>> {
        FastcgiExchange::begin(&self.link, now, waited)
    }

    /// The application is done with the request: says what the connection needs next.
    pub(super) fn finish(&mut self, exchange: Arc<FastcgiExchange>) -> Step {
        self.used = true;
        let link = Arc::clone(&self.link);
        let mut connection = link.lock();
        let is_nginx = connection.is_cut() && exchange.is_for_nginx();
        connection.finish(exchange.into_variables(), is_nginx);
        let step = self.settle(&mut connection);
        if connection.has_unsent() && !link.store(&mut connection) {
            // Of a response that has failed, or the application's thread would have waited. Less of it is no loss.
            connection.unsent().abandon();
            return self.settle(&mut connection);
        }
        step
    }

    /// Ends what it waits for, since the time is over. `ending`: the responder is about to end.
    pub(super) fn expire(&mut self, ending: bool) -> Step {
        if self.lingering {
            return Step::Close;
        }
        let link = Arc::clone(&self.link);
        let mut connection = link.lock();
        connection.expire(ending);
        self.settle(&mut connection)
    }

    /// Sends what there is to be sent and goes on with what the web server has sent ahead, as far as that goes.
    fn settle(&mut self, connection: &mut Connection) -> Step {
        loop {
            if connection.has_unsent() && self.link.flush(connection) != Flushed::All {
                break;
            }
            connection.all_sent();
            if !connection.has_unsent() {
                break;
            }
        }
        let step = connection.step();
        if step == Step::Linger {
            self.lingering = true;
            self.deadline = lately() + LINGER;
            if !self.link.shut_down(Shutdown::Write) {
                return Step::Close;
            }
        } else if matches!(step, Step::Receive | Step::Send(_)) {
            self.set_deadline(connection.awaits());
        }
        step
    }

    fn set_deadline(&mut self, awaits: Awaits) {
        let limits = self.limits();
        let wait = match awaits {
            Awaits::Request => limits.idle_timeout,
            // Set when the request began, not with each byte: a request that comes byte by byte has to end some time.
            Awaits::Head if self.awaits == Awaits::Head => return,
            Awaits::Head => limits.header_timeout,
            Awaits::Progress => limits.io_timeout,
        };
        self.deadline = lately() + wait;
        self.awaits = awaits;
    }

    /// Whether it is in the epoll set.
    pub(super) fn is_watched(&self) -> bool {
        self.interest.is_some()
    }

    /// It is not in the epoll set any more: somebody else has taken it out.
    pub(super) fn was_unwatched(&mut self) {
        self.interest = None;
    }

    /// Has it in the epoll set for what it waits for.
    ///
    /// # Errors
    /// When the kernel has no memory for that.
    pub(super) fn watch(&mut self, epoll: &Epoll) -> nix::Result<()> {
        let wanted = match self.link.lock().step() {
            Step::Send(true) => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Step::Send(false) => EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLIN,
        };
        let wanted = if self.lingering {
            EpollFlags::EPOLLIN
        } else {
            wanted
        };
        if self.interest == Some(wanted) {
            return Ok(());
        }
        let data = u64::try_from(self.fd()).unwrap_or(u64::MAX);
        let mut event = EpollEvent::new(wanted, data);
        match self.interest {
            Some(_) => epoll.modify(&*self.link, &mut event)?,
            None => epoll.add(&*self.link, event)?,
        }
        self.interest = Some(wanted);
        Ok(())
    }

    pub(super) fn unwatch(&mut self, epoll: &Epoll) {
        if self.interest.take().is_some() {
            let _ = epoll.delete(&*self.link);
        }
    }

    /// Closes the connection; `elsewhere`: another process may have the descriptor too.
    pub(super) fn close(mut self, epoll: &Epoll, elsewhere: bool) {
        if elsewhere || self.travelled || self.is_shared() {
            self.unwatch(epoll);
            self.link.shut_down(Shutdown::Both);
            self.link.give_up();
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.link.state().count_closed();
    }
}

/// How long a connection on which nothing came yet, or no more than a part of a request, may hold up the end of a
/// draining responder.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);
