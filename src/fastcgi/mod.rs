//! The FastCGI 1.0 protocol from the application's side, and a responder that serves it on many connections.
//!
//! From the wire inwards: `record` and `pairs` are the specification's units, `parser` turns bytes into events,
//! `connection` keeps what came for one request, `exchange` is that request as the application core uses it,
//! `responder` polls all connections and `baton` says which thread does, `handoff` is how responders of one service give
//! each other connections. This floor has never heard of Python.
//!
//! The `fastcgi` crate is not used here: it drops every variable after one that is not UTF-8, asserts on malformed
//! records and cannot stop. It is the peer that the tests' own client is checked against.

mod allow;
mod baton;
mod claim;
mod connection;
mod exchange;
mod handoff;
mod limits;
mod listener;
pub mod pairs;
pub mod parser;
pub mod record;
mod request;
mod responder;
mod sender;
mod socket;

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use allow::AllowList;
pub use claim::{Answered, Claim};
pub use connection::Connection;
pub use handoff::Handoff;
pub use limits::Limits;
pub use listener::Listener;
pub use responder::{Idle, Responder};

use crate::gateway::Page;
use record::Role;
use request::Request;
use sender::Sender;

/// What all connections of a responder share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// Connections above the limit that are taken only to be told so.
    turned_away: usize,
    /// Open connections.
    open: AtomicUsize,
    /// Requests that ended, for the memory of those that begin. In boxes, as connections have them.
    #[allow(clippy::vec_box)]
    spare: Mutex<Vec<Box<Request>>>,
    /// Started by the first generator that yields fast enough; `None` where no thread is to be had.
    sender: OnceLock<Option<Arc<Sender>>>,
}

impl Shared {
    fn new(mut limits: Limits, open_files: u64) -> Self {
        limits.fit(open_files);
        Self {
            turned_away: limits.turned_away(open_files),
            limits,
            open: AtomicUsize::new(0),
            spare: Mutex::default(),
            sender: OnceLock::new(),
        }
    }

    fn sender(&self) -> Option<&Sender> {
        self.sender.get_or_init(|| Sender::start().ok()).as_deref()
    }

    fn open_request(&self, id: u16, role: Role, keep: bool) -> Box<Request> {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut request = spare.unwrap_or_else(Request::new);
        request.begin(id, role, keep);
        request
    }

    fn close_request(&self, request: Box<Request>) {
        /// More than the requests that are open at one time on a busy worker; the rest of a burst is freed.
        const SPARE: usize = 32;
        if !request.log_line.is_empty() {
            exchange::log_report(&request.log_line);
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(request);
        }
    }

    fn too_large(&self) -> Page {
        log::warn!("a request's body is larger than --max-body: answered with 413");
        Page::new("413 Content Too Large", self.too_large_text())
    }

    fn too_large_error(&self) -> io::Error {
        io::Error::new(io::ErrorKind::FileTooLarge, self.too_large_text())
    }

    fn too_large_text(&self) -> String {
        let limit = self.limits.body.unwrap_or(u64::MAX);
        format!("The request's body is larger than {limit} bytes.")
    }
}
