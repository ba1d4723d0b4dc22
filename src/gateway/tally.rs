//! What is counted of requests, and who is told: a transport knows what has happened, and somebody else keeps the figures.

use std::fmt::Debug;

/// Why a request was not served as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There were more connections than `--max-connections`.
    Connections,
    /// Its body was larger than `--max-body`.
    Body,
    /// Its variables were larger than `--max-params`.
    Params,
    /// Its variables did not come whole within `--header-timeout`.
    HeaderTimeout,
    /// The web server neither sent a byte of it nor took one of the response for `--io-timeout`.
    IoTimeout,
}

/// How an application has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It raised before the head of its response had left.
    Exception,
    /// What it did is not WSGI: no `start_response`, a malformed head, blocks that are no bytes, a body that is too short.
    Protocol,
    /// In either way, when the head had left: the response was cut.
    AfterHead,
}

/// What has come of a request, as far as it is known when the application is done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFigures {
    /// Nanoseconds that it is known to have waited for a thread.
    pub waited: u64,
    /// The status code of the answer, where one was given.
    pub status: Option<u16>,
    /// Whether that was counted already.
    pub is_counted: bool,
    /// Bytes of its body that came.
    pub received: u64,
    /// Bytes of the response's body that were sent or are to be.
    pub sent: u64,
    /// How the application has failed, if it has.
    pub failure: Option<FailureKind>,
    /// Whether the answer was not wanted any more: the client, or the web server, has gone.
    pub was_left: bool,
}

/// Who keeps count of what needs no application. Called from any thread; must not block.
pub trait Bookkeeper: Debug + Send + Sync {
    /// A connection was opened.
    fn opened(&self) {}

    /// One was closed.
    fn closed(&self) {}

    /// A request was not served as it was sent.
    fn refused(&self, _reason: Refusal) {}

    /// A request was answered with this status code without the application.
    fn answered(&self, _status: u16) {}

    /// The answer to a request that the application does not have, or has no more, is not wanted.
    fn was_left(&self) {}
}

/// Nobody keeps count.
impl Bookkeeper for () {}
