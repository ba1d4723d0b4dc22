//! What a responder bears: sizes, counts and time limits, each an option of the operator's.

use std::time::Duration;

/// The limits of a responder.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the PARAMS stream; above it the answer is a 431 page.
    pub params: usize,
    /// Bytes of a request's body; above it the answer is a 413 page.
    pub body: Option<u64>,
    /// Bytes of the body that are read before a thread is given to the request.
    pub buffer: usize,
    /// Open connections; above it the answer is a 503 page.
    pub connections: usize,
    /// From a request's first byte until its variables are whole.
    pub header_timeout: Duration,
    /// Between two requests on a connection, and before the first.
    pub idle_timeout: Duration,
    /// For each wait within a body or a response, when the web server neither sends nor takes a byte.
    pub io_timeout: Duration,
}

/// How many connections above [`Limits::connections`] are taken only to be told that the responder is full.
pub(super) const TURNED_AWAY: usize = 64;

/// How long a connection that we are done with may take to close its side, so that it sees our answer and not a reset.
pub(super) const LINGER: Duration = Duration::from_secs(5);
