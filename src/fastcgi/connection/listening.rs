//! Hears what the web server says while a response is under way and nobody reads the body: an abort, a question.

use std::time::{Duration, Instant};

use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};

use super::{Connection, Incoming, Parsed};

/// How often it is listened to. An abort is to stop a generator within a second.
const OFTEN: Duration = Duration::from_millis(100);

/// Bytes of an unread body and of requests that come ahead, above which nothing more is read.
const MOST: usize = 64 * 1024;

impl Connection {
    /// Takes in what has come, now and then and without a wait. To be called before each part of a response.
    pub(in crate::fastcgi) fn listen(&mut self) {
        let Some(request) = &mut self.request else {
            return;
        };
        let now = Instant::now();
        let last = *request.listened.get_or_insert(now);
        if now.duration_since(last) < OFTEN {
            return;
        }
        request.listened = Some(now);
        let mut wire = [0; 16 * 1024];
        while !self.has_enough() {
            match recv(self.socket.as_raw_fd(), &mut wire, MsgFlags::MSG_DONTWAIT) {
                // Who has closed one side may wait for the answer on the other.
                Ok(0) | Err(_) => break,
                Ok(count) => self.incoming.keep(&wire[..count]),
            }
            self.overhear();
        }
        self.send_replies(self.patience);
    }

    fn has_enough(&self) -> bool {
        let unread = |request: &super::Request| request.body.len() - request.body_used;
        let body = self.request.as_deref().map_or(0, unread);
        let aborted = self
            .request
            .as_deref()
            .is_none_or(|request| request.aborted);
        match &self.incoming {
            Incoming::Open(records) => aborted || records.ahead.len() + body >= MOST,
            Incoming::Failed(_) => true,
        }
    }

    /// Parses what is here of the open request. The next one has to wait for its turn.
    fn overhear(&mut self) {
        let ahead = self.incoming.take_ahead();
        let mut input = &ahead[..];
        while let Incoming::Open(records) = &mut self.incoming {
            let length = records.parser.length_unless_begin(input);
            let Some(length) = length.filter(|_| !input.is_empty()) else {
                break;
            };
            let (mut record, rest) = input.split_at(length.min(input.len()));
            input = rest;
            while let Some(parsed) = self.digest_next(&mut record) {
                if let Some(fault) = parsed.fault() {
                    self.incoming.fail(fault);
                }
                if !matches!(parsed, Parsed::More) {
                    break;
                }
            }
        }
        self.incoming.keep(input);
    }

    /// Does what the next event asks for: `None` when there is none in `record`.
    fn digest_next(&mut self, record: &mut &[u8]) -> Option<Parsed> {
        let Incoming::Open(records) = &mut self.incoming else {
            return None;
        };
        let event = records.parser.next(record)?;
        Some(self.digest(event).unwrap_or(Parsed::More))
    }
}
