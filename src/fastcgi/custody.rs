//! Custody: somebody who outlives this process has a copy of each connection that waits here for a request, and gives those
//! on which nothing was read yet to other responders should this process be killed. A web server that keeps connections sends
//! its next request on one of them whenever it likes, so without that a process would take with it requests that it never saw.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;

/// Who has the copies.
pub trait Custodian: Send + Sync + Debug {
    /// Gives a copy of the connection away, without a wait; `None` when there is no room. What is known of it at first is
    /// that it is in use.
    fn deposit(&self, connection: BorrowedFd<'_>) -> Option<Box<dyn Receipt>>;
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Possession {
    /// Another responder's, or nobody's any more: the copy is of no use.
    Elsewhere,
    /// Ours, and another could not go on with it: something of a request was read and is not answered yet.
    InUse,
    /// Ours, and any other responder could have it.
    Free,
    /// The same, and nothing was ever asked on it.
    New,
}

/// What a connection's owner has of a copy in custody. Dropped, the connection is `Elsewhere`. The copy is closed some
/// time later, so that a connection that is to end has to be shut down.
pub trait Receipt: Send + Sync + Debug {
    /// Says whose the connection is: to be said before the first byte of a request is read, and after the last of its
    /// answer is written.
    fn note(&self, possession: Possession);
}

/// Whether a connection is in custody.
#[derive(Debug, Default)]
pub(super) enum Custody {
    /// Nobody was asked yet.
    #[default]
    None,
    /// It is.
    Held(Box<dyn Receipt>),
    /// There was no room for it.
    Refused,
}

impl Custody {
    pub(super) fn note(&self, possession: Possession) {
        if let Self::Held(receipt) = self {
            receipt.note(possession);
        }
    }

    /// Whether there may be a copy of the connection elsewhere.
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }
}
