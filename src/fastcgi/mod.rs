//! The FastCGI 1.0 protocol from the application's side, and a responder that serves it on many connections.
//!
//! From the wire inwards: `record` and `pairs` are the specification's units, `parser` turns bytes into events, `request` is
//! what came of them, `response` the records of an answer, `unsent` what is to leave, `content` the large part of that, and
//! `connection` the phases in which the two stand to each other; none of these does I/O. `link` is a connection with its
//! socket, `exchange` a request as the application core uses it, `sender` and `spiller` are threads that send and keep what web
//! servers are slow to take,
//! `responder` polls all connections and `leader` says which thread does, `handoff` is how responders of one service give
//! each other connections. This floor has never heard of Python.
//!
//! The `fastcgi` crate is not used here: it drops every variable after one that is not UTF-8, asserts on malformed
//! records and cannot stop. It is the peer that the tests' own client is checked against.

mod allow;
mod budget;
mod client;
mod clock;
mod connection;
mod content;
mod exchange;
mod handoff;
mod leader;
mod limits;
mod link;
mod listener;
pub mod pairs;
pub mod parser;
pub mod record;
mod request;
mod responder;
mod response;
mod sender;
mod spiller;
mod standard;
mod unsent;
mod waits;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

#[cfg(fuzzing)]
pub use connection::model::drive as drive_connection;

pub use allow::{AllowError, AllowList};
pub use client::{Reply, ReplyError, ReplyReader, write_body, write_request};
pub use connection::Answered;
pub use exchange::FastcgiExchange;
pub use handoff::Handoff;
pub use limits::Limits;
pub use listener::Listener;
pub use responder::{Idle, Responder};

use crate::gateway::{Bookkeeper, Page, Refusal};
use budget::Budget;
use record::Role;
use request::BegunRequest;
use sender::Sender;
use spiller::Spiller;

/// What all connections of a responder share.
#[derive(Debug)]
struct ResponderState {
    rules: Arc<Rules>,
    /// Connections above the limit that are taken only to be told so.
    turned_away: usize,
    /// Open connections.
    open: AtomicUsize,
    /// The memory for what web servers have not taken yet.
    unsent: Budget,
    /// Started by the first generator that yields fast enough; `None` where no thread is to be had.
    sender: OnceLock<Option<Arc<Sender>>>,
    /// Started by the first response that there is no memory for, likewise.
    spiller: OnceLock<Option<Arc<Spiller>>>,
}

impl ResponderState {
    fn new(mut limits: Limits, open_files: u64, tally: Arc<dyn Bookkeeper>) -> Self {
        limits.fit(open_files);
        Self {
            turned_away: limits.turned_away(open_files),
            unsent: Budget::new(limits.unsent),
            rules: Arc::new(Rules::new(limits, tally)),
            open: AtomicUsize::new(0),
            sender: OnceLock::new(),
            spiller: OnceLock::new(),
        }
    }

    /// A connection more is open. Gives how many there are.
    fn count_opened(&self) -> usize {
        self.rules.tally.opened();
        self.open.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn count_closed(&self) {
        self.rules.tally.closed();
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn sender(&self) -> Option<&Sender> {
        self.sender.get_or_init(|| Sender::start().ok()).as_deref()
    }

    fn spiller(&self) -> Option<&Spiller> {
        self.spiller
            .get_or_init(|| Spiller::start().ok())
            .as_deref()
    }
}

/// What a connection has to know of the others: the limits, who keeps count, and where the memory of requests comes from.
#[derive(Debug)]
struct Rules {
    limits: Limits,
    tally: Arc<dyn Bookkeeper>,
    /// Requests that ended, for the memory of those that begin. In boxes, as connections have them.
    #[allow(clippy::vec_box)]
    spare: Mutex<Vec<Box<BegunRequest>>>,
}

impl Rules {
    fn new(limits: Limits, tally: Arc<dyn Bookkeeper>) -> Self {
        Self {
            limits,
            tally,
            spare: Mutex::default(),
        }
    }

    fn open_request(&self, id: u16, role: Role, keep: bool) -> Box<BegunRequest> {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut request = spare.unwrap_or_else(BegunRequest::new);
        request.begin(id, role, keep);
        request.for_cgi = self.limits.for_cgi;
        request
    }

    fn close_request(&self, request: Box<BegunRequest>) {
        /// More than the requests that are open at one time on a busy worker; the rest of a burst is freed.
        const SPARE: usize = 32;
        if !request.log_line.is_empty() {
            request::log_report(&request.log_line);
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(request);
        }
    }

    fn too_large(&self) -> Page {
        self.tally.refused(Refusal::Body);
        log::warn!("a request's body is larger than --max-body: answered with 413");
        Page::new("413 Content Too Large", self.too_large_text())
    }

    fn too_large_text(&self) -> String {
        let limit = self.limits.body.unwrap_or(u64::MAX);
        format!("The request's body is larger than {limit} bytes.")
    }
}
