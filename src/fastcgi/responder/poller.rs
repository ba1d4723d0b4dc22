//! What a responder's threads have in common without a lock: the epoll set, the channel to the other workers, the event
//! descriptor that wakes who waits, and whether the end has come.

use std::fmt;
use std::os::fd::{AsFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::super::handoff::Note;
use super::super::{Handoff, ResponderState};
use super::Idle;
use super::peer::Peer;
use crate::gateway::forked;

/// The epoll set, and who is to be told what.
#[derive(Debug)]
pub(super) struct Poller {
    pub(super) epoll: Epoll,
    wake: EventFd,
    pub(super) handoff: Option<Handoff>,
    pub(super) state: Arc<ResponderState>,
    /// Whether and how the end has come: one of the constants of `end`.
    stopping: AtomicU8,
    /// Why nothing new can be taken any more.
    lost: OnceLock<String>,
    on_loss: OnceLock<OnLoss>,
}

/// What is done when nothing new can be taken any more.
struct OnLoss(Box<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for OnLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLoss")
    }
}

/// What an epoll event is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadySource {
    Wake,
    Handoff,
    Listener(usize),
    Connection(RawFd),
}

impl ReadySource {
    /// The event's 64 bits of data: a connection's are its descriptor.
    pub(super) const WAKE: u64 = u64::MAX;
    pub(super) const HANDOFF: u64 = u64::MAX - 1;
    pub(super) const LISTENER: u64 = 1 << 32;

    pub(super) fn of(data: u64) -> Self {
        match RawFd::try_from(data) {
            Ok(fd) => Self::Connection(fd),
            Err(_) if data == Self::WAKE => Self::Wake,
            Err(_) if data == Self::HANDOFF => Self::Handoff,
            Err(_) => Self::Listener(usize::try_from(data ^ Self::LISTENER).unwrap_or(usize::MAX)),
        }
    }
}

/// The states of [`Poller::stopping`], each of which the later ones override.
mod end {
    pub(super) const NOT_YET: u8 = 0;
    pub(super) const PASS: u8 = 1;
    pub(super) const CLOSE: u8 = 2;
    /// A thread has panicked, or there is no epoll set any more.
    pub(super) const BROKEN: u8 = 3;
}

impl Poller {
    /// An epoll set in which nothing is but the event descriptor.
    ///
    /// # Errors
    /// When the kernel gives no epoll instance or event descriptor.
    pub(super) fn new(state: ResponderState, handoff: Option<Handoff>) -> nix::Result<Arc<Self>> {
        let poller = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            wake: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            handoff,
            state: Arc::new(state),
            stopping: AtomicU8::new(end::NOT_YET),
            lost: OnceLock::new(),
            on_loss: OnceLock::new(),
        };
        let wake = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, ReadySource::WAKE);
        poller.epoll.add(&poller.wake, wake)?;
        Ok(Arc::new(poller))
    }

    /// Wakes who waits for events.
    pub(super) fn notify(&self) {
        // Failing means that the counter is full, so that a wake-up is due anyway.
        let _ = self.wake.write(1);
    }

    /// Waits for events, and says how many there are.
    pub(super) fn wait(&self, events: &mut [EpollEvent], timeout: Option<Duration>) -> usize {
        match self.epoll.wait(events, epoll_timeout(timeout)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => {
                // The application has closed a descriptor that is not its own. Trying again would keep a processor busy
                // for ever.
                log::error!(
                    "the worker cannot go on, its descriptors are gone (os.closerange?): epoll_wait failed: {error}"
                );
                self.break_off();
                0
            }
        }
    }

    /// Gives a connection to another worker, without a wait.
    ///
    /// # Errors
    /// The connection, when it may not travel or the channel has no room.
    pub(super) fn send_on(&self, mut peer: Box<Peer>, note: Note) -> Result<(), Box<Peer>> {
        let Some(handoff) = self.handoff.as_ref().filter(|_| peer.may_travel()) else {
            return Err(peer);
        };
        let note = note.with(Note::USED, peer.used);
        if let Err(error) = handoff.send(Some(peer.as_fd()), note) {
            log::debug!("a connection could not be handed to another worker yet: {error}");
            return Err(peer);
        }
        peer.unwatch(&self.epoll);
        Ok(())
    }

    /// Closes the connection.
    pub(super) fn close(&self, peer: Peer) {
        peer.close(&self.epoll, forked::has_forked());
    }

    // ---- The end ---------------------------------------------------------------------------------------------------

    /// The end begins, or comes sooner than it was said.
    pub(super) fn stop(&self, idle: Idle) {
        let idle = match idle {
            Idle::Pass if self.handoff.is_some() => end::PASS,
            Idle::Pass | Idle::Close => end::CLOSE,
        };
        self.stopping.fetch_max(idle, Ordering::AcqRel);
        self.notify();
    }

    /// It ends at once, with nothing answered or passed on.
    pub(super) fn break_off(&self) {
        self.stopping.store(end::BROKEN, Ordering::Release);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.stopping.load(Ordering::Acquire) == end::BROKEN
    }

    /// What is done with idle connections, where the end has begun.
    pub(super) fn stopping(&self) -> Option<Idle> {
        match self.stopping.load(Ordering::Acquire) {
            end::NOT_YET => None,
            end::PASS => Some(Idle::Pass),
            _ => Some(Idle::Close),
        }
    }

    /// Something that nothing new can be taken without has stopped working.
    pub(super) fn lose(&self, what: &str, error: Errno, idle: Idle) {
        let text = format!(
            "{what} does not work any more ({error}): the application has closed or shut down what is not its own \
             (os.closerange?)"
        );
        if self.lost.set(text.clone()).is_ok() {
            if let Some(on_loss) = self.on_loss.get() {
                (on_loss.0)(&text);
            }
            self.stop(idle);
        }
    }

    /// Whether it has come to that.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Who is told of that; the first that is said.
    pub(super) fn tell_of_loss(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.on_loss.set(OnLoss(Box::new(tell)));
    }
}

/// The timeout in the kernel's milliseconds, rounded up: a wait that ends too early would be begun again at once.
fn epoll_timeout(timeout: Option<Duration>) -> EpollTimeout {
    let Some(timeout) = timeout else {
        return EpollTimeout::NONE;
    };
    let up = Duration::from_millis(1) - Duration::from_nanos(1);
    EpollTimeout::try_from(timeout.saturating_add(up)).unwrap_or(EpollTimeout::MAX)
}
