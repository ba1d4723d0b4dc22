//! The exchange in the core's hands, and the rules of PEP 3333 about it: how much of the body may be read, when the
//! head leaves, where the response is cut. No Python objects here.
//!
//! The objects that the application is given ([`super::input`] and so on) share it and may outlive the request, in
//! whatever thread; when the request ends it is taken away from them.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::gateway::{Exchange, FileError, FileSpan, Head, Variables, forked};

/// What the objects of one request share.
#[derive(Default)]
pub(super) struct Shared {
    open: Mutex<Option<Open>>,
}

/// An exchange while its request is open.
pub(super) struct Open {
    exchange: Box<dyn Exchange>,
    /// Bytes of the body that may still be read; `None`: to where the transport marks its end.
    body_left: Option<u64>,
    pub(super) response: Response,
    is_head: bool,
    /// The web server has gone: what the application raises now is no news.
    pub(super) gone: bool,
    /// The body was larger than the operator allows.
    pub(super) too_large: bool,
    /// The web server sent nothing of the body for the transport's time limit.
    pub(super) timed_out: bool,
    /// The response was not what the application had announced.
    pub(super) failed: bool,
    /// It was told that a part of the body was cut off.
    pub(super) cut_told: bool,
}

/// How far the response is.
pub(super) enum Response {
    /// start_response was not called.
    NotStarted,
    /// The head waits for the first block.
    Started(Head),
    /// The head has left.
    Sent(Sent),
    /// The last byte has left.
    Ended,
    /// Sending failed; nothing more can be sent.
    Failed,
}

/// What may still be sent.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    /// Bytes of the announced Content-Length that have not left.
    left: Option<u64>,
    /// HEAD, 204 or 304.
    bodiless: bool,
}

/// What became of bytes that the application wanted to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// They are on their way.
    Whole,
    /// The response has no body: they were dropped.
    Dropped,
    /// Those past the announced Content-Length were cut off.
    Cut,
}

impl Shared {
    /// Opens it for a request.
    pub(super) fn open(
        &self,
        exchange: Box<dyn Exchange>,
        content_length: Option<u64>,
        is_head: bool,
    ) {
        let unknown = if exchange.marks_end_of_body() {
            None
        } else {
            Some(0)
        };
        *self.lock() = Some(Open {
            exchange,
            body_left: content_length.or(unknown),
            response: Response::NotStarted,
            is_head,
            gone: false,
            too_large: false,
            timed_out: false,
            failed: false,
            cut_told: false,
        });
    }

    /// Takes the exchange away from everyone who still has this.
    pub(super) fn close(&self) -> Option<Box<dyn Exchange>> {
        self.lock().take().map(|open| open.exchange)
    }

    /// The open exchange, for work that may block: the caller is not attached to Python, since another thread may hold
    /// the lock and wait to attach.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        disown_in_child(self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something with the body that may have to wait: the exchange is let go meanwhile, so that a thread of the application
    /// that waits here holds up nothing. `work` is done again where it left off; `None` when the request is over. The caller is not
    /// attached to Python.
    ///
    /// # Errors
    /// Those of `work`; `TimedOut` when nothing came for the transport's time limit.
    pub(super) fn with_body<R>(
        &self,
        mut work: impl FnMut(&mut Open) -> io::Result<R>,
    ) -> Option<io::Result<R>> {
        /// How soon it is seen that the request has ended meanwhile.
        const SOON: Duration = Duration::from_millis(50);
        loop {
            let mut guard = self.lock();
            let open = guard.as_mut()?;
            let arrival = match work(open) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => open.exchange.arrival(),
                done => return Some(done),
            };
            drop(guard);
            let arrival = match arrival {
                Ok(arrival) => arrival,
                Err(error) => return Some(Err(error)),
            };
            let begun = Instant::now();
            loop {
                let left = arrival
                    .limit
                    .map_or(SOON, |limit| limit.saturating_sub(begun.elapsed()));
                match (arrival.wait)(left.min(SOON)) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => return Some(Err(error)),
                }
                let mut guard = self.lock();
                let open = guard.as_mut()?;
                if arrival.limit.is_some_and(|limit| begun.elapsed() >= limit) {
                    return Some(Err(open.nothing_came(begun.elapsed())));
                }
            }
        }
    }

    /// The open exchange, for work that neither blocks nor runs Python code; `None` when another thread has it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Option<Open>>> {
        match self.open.try_lock() {
            Ok(guard) => Some(disown_in_child(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(disown_in_child(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// In a child that the application has forked the request is over: the parent answers it. The child's copy is left as
/// it is, since whatever it did to the connection would be done to the parent's.
fn disown_in_child(mut guard: MutexGuard<'_, Option<Open>>) -> MutexGuard<'_, Option<Open>> {
    if forked::is_child() {
        std::mem::forget(guard.take());
    }
    guard
}

impl Open {
    pub(super) fn variables(&self) -> &Variables {
        self.exchange.variables()
    }

    /// Whether the head has left, so that the response cannot become another one.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.response, Response::NotStarted | Response::Started(_))
    }

    /// Whether the response has no body, whatever the application yields.
    pub(super) fn bodiless(&self) -> bool {
        match &self.response {
            Response::Started(head) => self.is_bodiless(head),
            Response::Sent(sent) => sent.bodiless,
            _ => false,
        }
    }

    fn is_bodiless(&self, head: &Head) -> bool {
        self.is_head || head.is_bodiless()
    }

    /// Sends blocks of the body, the head before the first of them. With `last` the response is over.
    ///
    /// # Errors
    /// When the web server has gone; `InvalidData` when the body is shorter than the Content-Length that has left, so
    /// that the response can only be cut.
    pub(super) fn push(&mut self, blocks: &[&[u8]], last: bool) -> io::Result<Pushed> {
        let (head, mut sent) = self.take_head()?;
        let total = blocks.iter().map(|block| block.len() as u64).sum::<u64>();
        let wanted = sent.left.unwrap_or(total);
        let mut pushed = Pushed::Whole;
        let mut kept: Vec<&[u8]>;
        let mut blocks = blocks;
        if sent.bodiless {
            pushed = if total > 0 {
                Pushed::Dropped
            } else {
                Pushed::Whole
            };
            blocks = &[];
        } else if total > wanted {
            pushed = Pushed::Cut;
            let mut room = usize::try_from(wanted).unwrap_or(usize::MAX);
            kept = Vec::with_capacity(blocks.len());
            for block in blocks {
                let count = room.min(block.len());
                kept.push(&block[..count]);
                room -= count;
            }
            blocks = &kept;
        }
        sent.left = sent.left.map(|left| left.saturating_sub(total));
        let short = self.is_short(sent, last);
        if let Some(head) = head.clone().filter(|_| short) {
            // Nothing has left, so that the response can still be another one.
            self.response = Response::Started(head);
            return Err(too_short(sent));
        }
        let result = self.exchange.send(head.as_ref(), blocks, last && !short);
        self.settle(result, sent, last)?;
        if short {
            Err(too_short(sent))
        } else {
            Ok(pushed)
        }
    }

    /// Sends a file up to its end, or to the response's Content-Length: "until the end is reached, or until Content-Length bytes
    /// have been written" (PEP 3333). That the file goes on is no error: applications answer a Range so.
    ///
    /// # Errors
    /// See [`FileError`].
    pub(super) fn push_file(&mut self, mut span: FileSpan<'_>) -> Result<(), FileError> {
        let (head, mut may) = self.take_head().map_err(FileError::Peer)?;
        if let Some(left) = may.left {
            span.length = span.length.min(left);
        }
        let result = self.exchange.send_file(head.as_ref(), span);
        let sent = match &result {
            Ok(sent) | Err(FileError::Unread { sent, .. }) => *sent,
            Err(FileError::Peer(_) | FileError::Broken(_)) => {
                self.gone = matches!(result, Err(FileError::Peer(_)));
                self.response = Response::Failed;
                return result.map(drop);
            }
        };
        may.left = may.left.map(|left| left.saturating_sub(sent));
        self.response = match head {
            Some(head) if sent == 0 => Response::Started(head),
            _ => Response::Sent(may),
        };
        result.map(drop)
    }

    /// What is wrong with a complete body of so many bytes, where nothing has left and it is shorter than announced.
    pub(super) fn falls_short(&self, total: u64) -> Option<io::Error> {
        let Response::Started(head) = &self.response else {
            return None;
        };
        let left = head.content_length()?.checked_sub(total)?;
        (left > 0 && !self.is_bodiless(head)).then(|| {
            too_short(Sent {
                left: Some(left),
                bodiless: false,
            })
        })
    }

    /// Hands a later block over without waiting: `false` when it has to be pushed.
    ///
    /// # Errors
    /// As [`Open::push`].
    pub(super) fn offer(&mut self, block: &[u8]) -> io::Result<bool> {
        let Response::Sent(sent) = &mut self.response else {
            return Ok(false);
        };
        let length = block.len() as u64;
        if sent.bodiless || sent.left.is_some_and(|left| left < length) {
            return Ok(false);
        }
        match self.exchange.offer(block) {
            Ok(true) => {
                sent.left = sent.left.map(|left| left - length);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => {
                self.response = Response::Failed;
                self.gone = true;
                Err(error)
            }
        }
    }

    fn is_short(&self, sent: Sent, last: bool) -> bool {
        last && !sent.bodiless && sent.left.is_some_and(|left| left > 0)
    }

    /// The head if it has not left yet, and what may be sent behind it.
    fn take_head(&mut self) -> io::Result<(Option<Head>, Sent)> {
        match std::mem::replace(&mut self.response, Response::Failed) {
            Response::Started(head) => {
                let bodiless = self.is_bodiless(&head);
                let left = if bodiless {
                    None
                } else {
                    head.content_length()
                };
                Ok((Some(head), Sent { left, bodiless }))
            }
            Response::Sent(sent) => {
                self.response = Response::Sent(sent);
                Ok((None, sent))
            }
            other => {
                self.response = other;
                Err(io::Error::new(
                    io::ErrorKind::BrokenPipe,
                    "the response is over",
                ))
            }
        }
    }

    fn settle(&mut self, result: io::Result<()>, sent: Sent, last: bool) -> io::Result<()> {
        self.gone |= result.is_err();
        self.response = match &result {
            Err(_) => Response::Failed,
            Ok(()) if last => Response::Ended,
            Ok(()) => Response::Sent(sent),
        };
        result
    }

    /// Replaces whatever was started by this response; only before the head has left.
    pub(super) fn answer(&mut self, head: Head, body: &[u8]) -> io::Result<Pushed> {
        self.response = Response::Started(head);
        self.push(&[body], true)
    }

    pub(super) fn report(&mut self, text: &[u8]) {
        self.exchange.report(text);
    }

    pub(super) fn flush_reports(&mut self) {
        self.exchange.flush_reports();
    }

    /// How many bytes a read of all would give, where that is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        self.body_left
    }

    /// What of the body is here and may be read.
    pub(super) fn buffered(&self) -> &[u8] {
        let here = self.exchange.buffered();
        let most = self.body_left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        &here[..here.len().min(most)]
    }

    /// Drops bytes from the front of [`Open::buffered`].
    pub(super) fn consume(&mut self, count: usize) {
        self.exchange.consume(count);
        self.body_left = self.body_left.map(|left| left - count as u64);
    }

    /// Sees to it that [`Open::buffered`] has bytes: `false` at the end of the body.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is here, see [`Shared::with_body`]. When the body ends before the announced length, or the transport fails.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.body_left == Some(0) {
            return Ok(false);
        }
        if !self.buffered().is_empty() {
            return Ok(true);
        }
        let filled = self.exchange.fill();
        self.judge(filled.map(usize::from)).map(|some| some > 0)
    }

    /// Reads what is here: 0 at the end of the body, or for no room.
    ///
    /// # Errors
    /// As [`Open::fill`].
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.body_left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let room = into.len().min(most);
        if room == 0 {
            return Ok(0);
        }
        let read = self.exchange.read(&mut into[..room]);
        let count = self.judge(read)?;
        self.body_left = self.body_left.map(|left| left - count as u64);
        Ok(count)
    }

    fn nothing_came(&mut self, waited: Duration) -> io::Error {
        self.timed_out = true;
        log::warn!("nothing of a request's body came for --io-timeout");
        let waited = waited.as_secs();
        let text = format!("nothing of the request's body came for {waited} s (--io-timeout)");
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    /// The end of the body before the announced length is not an end: the application would take half of an upload for
    /// the whole.
    fn judge(&mut self, read: io::Result<usize>) -> io::Result<usize> {
        match (read, self.body_left) {
            (Ok(0), Some(left)) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the request's body ended {left} bytes before its CONTENT_LENGTH"),
            )),
            (Err(error), _) => {
                match error.kind() {
                    io::ErrorKind::WouldBlock => {}
                    io::ErrorKind::FileTooLarge => self.too_large = true,
                    io::ErrorKind::TimedOut => self.timed_out = true,
                    _ => self.gone = true,
                }
                Err(error)
            }
            (read, _) => read,
        }
    }

    /// `GET /path`, for messages: in characters that cannot end a line of the log.
    pub(super) fn subject(&self) -> String {
        let variables = self.variables();
        let text = |name: &[u8]| {
            String::from_utf8_lossy(variables.get(name).unwrap_or_default()).into_owned()
        };
        let method = text(b"REQUEST_METHOD");
        let uri = text(b"REQUEST_URI");
        let url = if uri.is_empty() {
            text(b"SCRIPT_NAME") + &text(b"PATH_INFO")
        } else {
            uri
        };
        format!("{} {url}", if method.is_empty() { "GET" } else { &method })
            .escape_debug()
            .to_string()
    }
}

fn too_short(sent: Sent) -> io::Error {
    let left = sent.left.unwrap_or(0);
    let text = format!("the response's body ended {left} bytes before its Content-Length");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
