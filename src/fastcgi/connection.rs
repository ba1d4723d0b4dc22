//! One connection from a web server: its socket, what came in and is not used yet, and the request that is open on it.
//!
//! One request at a time (section 3.3 allows more; we answer MPXS_CONNS 0 and CANT_MPX_CONN). Reading never blocks
//! here, so that an idle or slow connection occupies no thread; what blocks is in `exchange`.

mod assembly;
mod incoming;
mod listening;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use super::Shared;
use super::claim::Claim;
use super::custody::{Custody, Possession};
use super::limits::LINGER;
use super::pairs::{Pairs, write_pair};
use super::record::{ProtocolStatus, RecordType, Role, write_end_request, write_record};
use super::request::{Request, Sent};
use super::socket::write_all;
use crate::gateway::{Exchange, Page};
pub(super) use incoming::{Fault, Incoming};

/// A connection from a web server.
#[derive(Debug)]
pub struct Connection {
    /// Shared with the sender for as long as that has something to send on it.
    pub(super) socket: Arc<OwnedFd>,
    pub(super) shared: Arc<Shared>,
    pub(super) incoming: Incoming,
    /// Records outside any request's response that have not left.
    replies: Vec<u8>,
    pub(super) request: Option<Box<Request>>,
    /// When the connection is closed if nothing happens on it.
    pub(super) deadline: Instant,
    /// Whether its socket is in the epoll set.
    pub(super) registered: bool,
    /// Whether a request was ever answered on it.
    pub(super) used: bool,
    /// Whether it came from another worker, which may still have a copy of its descriptor.
    pub(super) travelled: bool,
    /// Whether another process could go on with it should this one be killed.
    pub(super) custody: Custody,
    /// Whether the responder was full when it came: its request gets a 503 page.
    turned_away: bool,
    /// We are done and only wait for the web server to close.
    lingering: bool,
    /// A reply could not be sent.
    broken: bool,
    /// How long each wait to send may be.
    pub(super) patience: Duration,
    /// Who answers the open request, where somebody watches how long it takes.
    pub(super) claim: Option<Arc<Claim>>,
}

/// What came of parsing.
pub(super) enum Parsed {
    /// All was taken in, and more is needed.
    More,
    /// The request is ready, or has something of its body.
    Ready,
    /// The request is not for the application: this is the answer.
    Refused(Page),
    /// The web server no longer wants the open request's answer. The stream is whole.
    Aborted,
    /// The request's role is not served, and its connection was for it alone.
    Unserved,
    /// The connection is not worth going on with.
    Broken,
}

impl Parsed {
    /// Why the stream ends here, if it does.
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::More | Self::Ready | Self::Aborted => None,
            Self::Refused(_) => Some(Fault::TooLarge),
            Self::Unserved => Some(Fault::Over),
            Self::Broken => Some(Fault::Malformed),
        }
    }
}

/// What the web server has sent that was not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    Bytes,
    /// Its close, or an error.
    End,
}

/// What a connection needs next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes from the web server.
    Wait,
    /// Its request is ready for the application.
    Ready,
    /// To be closed.
    Close,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, shared: Arc<Shared>, turned_away: bool) -> Box<Self> {
        let patience = shared.limits.io_timeout;
        Box::new(Self {
            socket: Arc::new(socket),
            deadline: Instant::now() + shared.limits.idle_timeout,
            shared,
            incoming: Incoming::new(),
            replies: Vec::new(),
            request: None,
            registered: false,
            used: false,
            travelled: false,
            custody: Custody::default(),
            turned_away,
            lingering: false,
            broken: false,
            patience,
            claim: None,
        })
    }

    /// Whether the sender may still have the socket.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.socket) > 1
    }

    /// Whether no request is open and none has begun.
    pub(super) fn is_idle(&self) -> bool {
        self.request.is_none() && self.incoming.is_between_records() && !self.lingering
    }

    /// Whether a request has begun whose variables are not whole.
    pub(super) fn is_half_received(&self) -> bool {
        match &self.request {
            Some(request) => !request.params_ended,
            None => !self.lingering && !self.incoming.is_between_records(),
        }
    }

    /// Whether another process can go on with it: nothing of a request is here, and nobody here still sends on it.
    pub(super) fn may_travel(&self) -> bool {
        self.is_idle() && !self.incoming.has_ahead() && !self.is_shared()
    }

    /// Whose it is while it may travel.
    pub(super) fn possession(&self) -> Possession {
        if self.used {
            Possession::Free
        } else {
            Possession::New
        }
    }

    /// Whether we are done and only wait for the web server to close.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering
    }

    /// Whether its time has passed, and with nothing waiting to be read: what came in time and finds all threads busy is
    /// not late.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        now >= self.deadline && (self.lingering || self.unread() != Unread::Bytes)
    }

    /// What is here to be read, without reading it.
    pub(super) fn unread(&self) -> Unread {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        loop {
            return match recv(self.socket.as_raw_fd(), &mut [0], flags) {
                Ok(0) => Unread::End,
                Ok(_) => Unread::Bytes,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Unread::Nothing,
                Err(_) => Unread::End,
            };
        }
    }

    /// The method and the URI of the open request, for the eyes of operators and as the web server sent them. The URI
    /// is in two pieces that belong together. Empty where there is no such variable or no open request.
    pub fn request_line(&self) -> (&[u8], [&[u8]; 2]) {
        let value = |name: &[u8]| {
            let request = self.request.as_ref()?;
            request.variables.get(name)
        };
        let method = value(b"REQUEST_METHOD").unwrap_or_default();
        let uri = match value(b"REQUEST_URI") {
            Some(uri) if !uri.is_empty() => [uri, &[]],
            _ => [&b"SCRIPT_NAME"[..], b"PATH_INFO"].map(|name| value(name).unwrap_or_default()),
        };
        (method, uri)
    }

    /// The open request may be answered through this from here on, until nobody watches it any more. `begun` is the
    /// watcher's name for it.
    pub fn watched(&mut self, claim: &Arc<Claim>, begun: u64) {
        if let Some(request) = &self.request {
            claim.open(begun, request.id, &self.socket);
            self.claim = Some(Arc::clone(claim));
        }
    }

    /// The application is done with the request.
    pub fn unwatched(&mut self) {
        let claim = self.claim.take();
        if claim.is_some_and(|claim| !claim.close()) {
            if let Some(request) = &mut self.request {
                request.sent = Sent::Failed;
            }
        }
    }

    /// Reads what is here, once, and says what the connection needs next. `scratch` is the thread's reading buffer.
    pub(super) fn readable(&mut self, scratch: &mut [u8]) -> Step {
        self.custody.note(Possession::InUse);
        let count = loop {
            match recv(self.socket.as_raw_fd(), scratch, MsgFlags::empty()) {
                Ok(count) => break count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Step::Wait,
                Err(error) => {
                    log::debug!("connection lost: {error}");
                    return Step::Close;
                }
            }
        };
        if self.lingering {
            return if count == 0 { Step::Close } else { Step::Wait };
        }
        if count == 0 {
            if self.request.is_some() {
                log::debug!("the web server closed the connection in the middle of a request");
            }
            return Step::Close;
        }
        self.absorb(&scratch[..count])
    }

    /// Goes on with what came ahead of its turn.
    pub(super) fn resume(&mut self) -> Step {
        if !self.incoming.has_ahead() {
            return Step::Wait;
        }
        let ahead = self.incoming.take_ahead();
        self.absorb(&ahead)
    }

    /// Answers with a page of our own instead of the application and ends the connection.
    fn answer(&mut self, page: &Page) -> Step {
        let (head, body) = page.render();
        // No wait, for the reason that `reply` has.
        self.patience = Duration::ZERO;
        match self.send(Some(&head), &[&body], true) {
            Ok(()) => self.linger(),
            Err(_) => Step::Close,
        }
    }

    /// Answers GET_VALUES with those of the asked variables that we know (section 4.1).
    fn answer_values(&mut self) {
        let mut values = Vec::new();
        let Incoming::Open(records) = &self.incoming else {
            return;
        };
        for (name, _) in Pairs::of(records.parser.whole()).map_while(Result::ok) {
            // One request a connection, so as many requests as connections.
            let value = match name {
                b"FCGI_MAX_CONNS" | b"FCGI_MAX_REQS" => self.shared.limits.connections.to_string(),
                b"FCGI_MPXS_CONNS" => "0".to_owned(),
                _ => continue,
            };
            // A question may hold a name thousands of times; the answer has to fit one record.
            if values.len() + name.len() + value.len() < 1024 {
                write_pair(&mut values, name, value.as_bytes());
            }
        }
        write_record(&mut self.replies, RecordType::GetValuesResult, 0, &values);
    }

    fn refuse(&mut self, id: u16, status: ProtocolStatus) {
        write_end_request(&mut self.replies, id, 0, status);
    }

    /// Sends what is to be said outside any request's response. While a response is under way its last record is made whole
    /// first: the sender may have sent a part of it.
    ///
    /// Without a `limit` for the thread that polls for all: a web server that asks and does not read the answers is not worth a
    /// wait.
    pub(super) fn send_replies(&mut self, limit: Duration) {
        if self.replies.is_empty() {
            return;
        }
        let replies = std::mem::take(&mut self.replies);
        if let Err(error) = self.try_send_replies(&replies, limit) {
            log::debug!("a reply could not be sent: {error}");
            self.broken = true;
            if let Some(request) = &mut self.request {
                request.sent = Sent::Failed;
            }
        }
    }

    fn try_send_replies(&mut self, replies: &[u8], limit: Duration) -> io::Result<()> {
        match self.request.as_ref().map(|request| request.sent) {
            // A record may have left in part.
            Some(Sent::Failed) => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(Sent::Nothing | Sent::Part | Sent::Ended) => self.begin_out()?,
            None => self.claim.as_ref().map_or(Ok(()), |claim| claim.take())?,
        }
        if let Some(request) = &mut self.request {
            request.out.extend_from_slice(replies);
            return write_all(self.socket.as_fd(), &request.out, limit);
        }
        write_all(self.socket.as_fd(), replies, limit)
    }

    /// Sends what the sender still had, so that the last record is whole: without a wait, for the reason that `reply` has.
    fn end_stream(&mut self) {
        if self
            .request
            .as_ref()
            .is_none_or(|request| request.stream.is_none())
        {
            return;
        }
        let sent = self.begin_out().and_then(|()| {
            let out = self
                .request
                .as_ref()
                .map_or(&[][..], |request| &request.out);
            write_all(self.socket.as_fd(), out, Duration::ZERO)
        });
        self.broken |= sent.is_err();
    }

    /// Ends the open request once the application is done with it, or the connection with it.
    pub(super) fn finish(&mut self) -> Step {
        self.end_stream();
        let Some(request) = self.request.take() else {
            return Step::Close;
        };
        let (id, keep, clean) = (request.id, request.keep, request.body_ended);
        let ended = match request.sent {
            Sent::Ended => true,
            Sent::Nothing | Sent::Part if request.aborted && !self.broken => {
                self.refuse(id, ProtocolStatus::RequestComplete);
                self.send_replies(Duration::ZERO);
                !self.broken
            }
            // An error in the middle of the response: a clean end would tell the client that it has everything. See also
            // `break_off`.
            Sent::Nothing | Sent::Part | Sent::Failed => false,
        };
        let authorizer = request.role == Role::Authorizer;
        self.shared.close_request(request);
        self.used = true;
        if ended && keep && self.incoming.is_open() {
            // What is left of this request's STDIN is skipped as belonging to no open request.
            self.deadline = Instant::now() + self.shared.limits.idle_timeout;
            return Step::Wait;
        }
        if clean && !authorizer && self.incoming.is_open() && !self.incoming.has_ahead() {
            // Everything that was sent to us was read, so that closing cannot reset the connection under our answer.
            return Step::Close;
        }
        self.linger()
    }

    /// Tells the web server that nothing more comes, then waits for its close: closing with bytes of its unread would
    /// reset the connection and take the answer away from it.
    fn linger(&mut self) -> Step {
        if shutdown(self.socket.as_raw_fd(), Shutdown::Write).is_err() {
            return Step::Close;
        }
        self.lingering = true;
        if let Some(request) = self.request.take() {
            self.shared.close_request(request);
        }
        self.incoming.fail(Fault::Over);
        self.deadline = Instant::now() + LINGER;
        Step::Wait
    }

    fn set_deadline(&mut self) {
        let limits = &self.shared.limits;
        if self.lingering {
            return;
        }
        match &self.request {
            // Set when the request began, not with each byte: a request that comes byte by byte has to end some time.
            Some(request) if !request.params_ended => {}
            Some(_) => self.deadline = Instant::now() + limits.io_timeout,
            None if self.incoming.is_between_records() => {
                self.deadline = Instant::now() + limits.idle_timeout;
            }
            None => self.deadline = self.deadline.min(Instant::now() + limits.header_timeout),
        }
    }

    /// The deadline has passed: a begun request gets a page, and the connection ends. `stops`: because the service does.
    pub(super) fn expire(&mut self, stops: bool) -> Step {
        if self.lingering || self.request.is_none() {
            return Step::Close;
        }
        if stops && self.is_half_received() {
            log::info!("a request was not whole when the service stopped: answered with 503");
            let text = "The application server is stopping. Try again in a moment.";
            let mut page = Page::new("503 Service Unavailable", text);
            page.retry_after = Some(1);
            self.answer(&page);
            // Nothing that was sent is unread, so that the page arrives; and nobody is waited for.
            return Step::Close;
        }
        log::warn!(
            "a request did not come whole within --header-timeout or --io-timeout: answered with 408"
        );
        let text = "The request did not come whole within the time limit.";
        self.answer(&Page::new("408 Request Timeout", text))
    }

    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        write_all(self.socket.as_fd(), bytes, self.patience)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
