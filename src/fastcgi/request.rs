//! A request while it is open on a connection: what came of it, and how far its response got.

use std::sync::Arc;
use std::time::Instant;

use super::record::{Cut, Role};
use super::sender::Stream;
use crate::gateway::Variables;

/// An open request. Its buffers outlive it and serve the next one, on whichever connection.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: u16,
    pub(super) role: Role,
    /// FCGI_KEEP_CONN of its BEGIN_REQUEST.
    pub(super) keep: bool,
    /// The PARAMS stream while it is not whole.
    pub(super) params: Vec<u8>,
    pub(super) params_ended: bool,
    pub(super) variables: Variables,
    /// Bytes of STDIN, of which the first `body_used` were consumed.
    pub(super) body: Vec<u8>,
    pub(super) body_used: usize,
    /// Bytes of STDIN that came in all.
    pub(super) body_come: u64,
    pub(super) body_ended: bool,
    pub(super) aborted: bool,
    /// The records that leave next.
    pub(super) out: Vec<u8>,
    /// Text for FCGI_STDERR that has not left.
    pub(super) reports: Vec<u8>,
    /// Whether any of it has left, so that the stream has to be ended.
    pub(super) reported: bool,
    /// Text for the log whose line is not whole.
    pub(super) log_line: Vec<u8>,
    pub(super) sent: Sent,
    /// Bytes of the body that the head promised and that have not left; `None` where it promised nothing.
    pub(super) owed: Option<u64>,
    /// When a block of the body last left or was handed to the sender.
    pub(super) last_block: Option<Instant>,
    /// Blocks on their way through the sender.
    pub(super) stream: Option<Arc<Stream>>,
}

/// How far the response got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    Part,
    Ended,
    /// The web server has gone or takes nothing.
    Failed,
}

impl Request {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            id: 0,
            role: Role::Responder,
            keep: false,
            params: Vec::new(),
            params_ended: false,
            variables: Variables::new(),
            body: Vec::new(),
            body_used: 0,
            body_come: 0,
            body_ended: false,
            aborted: false,
            out: Vec::new(),
            reports: Vec::new(),
            reported: false,
            log_line: Vec::new(),
            sent: Sent::Nothing,
            owed: None,
            last_block: None,
            stream: None,
        })
    }

    /// Makes it the state of a request that begins, keeping its buffers unless they grew out of the ordinary.
    pub(super) fn begin(&mut self, id: u16, role: Role, keep: bool) {
        const KEEP: usize = 64 * 1024;
        self.id = id;
        self.role = role;
        self.keep = keep;
        for buffer in [
            &mut self.params,
            &mut self.body,
            &mut self.out,
            &mut self.reports,
            &mut self.log_line,
        ] {
            buffer.clear();
            buffer.shrink_to(KEEP);
        }
        self.params_ended = false;
        self.variables.clear();
        self.body_used = 0;
        self.body_come = 0;
        self.body_ended = false;
        self.aborted = false;
        self.reported = false;
        self.sent = Sent::Nothing;
        self.owed = None;
        self.last_block = None;
        self.stream = None;
    }

    /// Whether the application can be called: the variables are whole, and the body is, or `want` bytes of it are here.
    pub(super) fn is_ready(&self, want: usize) -> bool {
        self.params_ended && (self.body_ended || self.body.len() - self.body_used >= want)
    }

    pub(super) fn takes_params(&self, id: u16) -> bool {
        id == self.id && !self.params_ended
    }

    pub(super) fn takes_body(&self, id: u16) -> bool {
        id == self.id && !self.body_ended
    }

    /// How its response is cut, which has begun and cannot be completed.
    pub(super) fn cut(&self) -> Cut {
        let software = self.variables.get(b"SERVER_SOFTWARE");
        let is_nginx = software.is_some_and(|software| software.starts_with(b"nginx"));
        Cut::of(self.role, self.owed, is_nginx)
    }

    pub(super) fn push_body(&mut self, piece: &[u8]) {
        if self.body_used == self.body.len() {
            self.body.clear();
            self.body_used = 0;
        }
        self.body.extend_from_slice(piece);
        self.body_come += piece.len() as u64;
    }
}
