//! The request in the core's hands: what the objects that the application is given have of it. No Python objects here.
//!
//! Those objects ([`super::input`] and so on) share a [`RequestSlot`] and may outlive the request, in whatever thread; when
//! the request ends it is taken out of the slot.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gateway::{Exchange, FailureKind, KeptBytes, Page, Pushed, forked};

/// The place of a request, which the objects of its application share.
#[derive(Default)]
pub(super) struct RequestSlot {
    open: Mutex<Option<Arc<OpenRequest>>>,
}

/// A request that has not ended.
pub(super) struct OpenRequest {
    pub(super) exchange: Arc<dyn Exchange>,
    /// The web server has gone: what the application raises now is no news.
    gone: AtomicBool,
    /// The body was larger than the operator allows.
    too_large: AtomicBool,
    /// The web server sent nothing of the body for the transport's time limit.
    timed_out: AtomicBool,
    /// The response was not what it announced.
    failed: AtomicBool,
    /// The application did in `start_response` what is not WSGI.
    misused: AtomicBool,
    /// It was told that the body is longer than its Content-Length.
    told_cut: AtomicBool,
}

impl RequestSlot {
    /// Opens it for a request.
    pub(super) fn open(&self, exchange: Arc<dyn Exchange>) -> Arc<OpenRequest> {
        let request = Arc::new(OpenRequest {
            exchange,
            gone: AtomicBool::new(false),
            too_large: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            misused: AtomicBool::new(false),
            told_cut: AtomicBool::new(false),
        });
        *self.lock() = Some(Arc::clone(&request));
        request
    }

    /// Takes the request away from everyone who still has this.
    pub(super) fn close(&self) {
        drop(self.lock().take());
    }

    /// The request, unless it has ended. In a child that the application has forked it has: the parent answers it, and
    /// whatever the child did to the connection would be done to the parent's.
    pub(super) fn get(&self) -> Option<Arc<OpenRequest>> {
        // First: another thread may have had the lock when the child was made.
        if forked::is_child() {
            return None;
        }
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<OpenRequest>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenRequest {
    /// Whether the application has called start_response.
    pub(super) fn is_started(&self) -> bool {
        let mut started = false;
        self.exchange
            .progress(&mut |progress| started = progress.is_started());
        started
    }

    /// Whether the response has no body, whatever the application yields.
    pub(super) fn is_bodiless(&self) -> bool {
        let mut bodiless = false;
        self.exchange
            .progress(&mut |progress| bodiless = progress.is_bodiless());
        bodiless
    }

    /// Sends blocks of the body, the head before the first of them. With `last` the response is over.
    ///
    /// # Errors
    /// As `ResponseWriter::send`.
    pub(super) fn push(&self, blocks: &[&[u8]], last: bool) -> io::Result<Pushed> {
        self.note_sent(self.exchange.send(blocks, last))
    }

    /// As [`OpenRequest::push`], of blocks that are not to be copied.
    ///
    /// # Errors
    /// As `ResponseWriter::send`.
    pub(super) fn push_kept(&self, blocks: Vec<KeptBytes>, last: bool) -> io::Result<Pushed> {
        self.note_sent(self.exchange.send_kept(blocks, last))
    }

    /// Remembers what came of sending.
    pub(super) fn note_sent(&self, sent: io::Result<Pushed>) -> io::Result<Pushed> {
        match &sent {
            Err(error) => self.note(error),
            Ok(Pushed::Cut) if !self.told_cut.swap(true, Ordering::Relaxed) => {
                let text =
                    "the response's body is longer than its Content-Length and was cut there";
                self.exchange
                    .report(format!("{}: {text}\n", self.subject()).as_bytes());
            }
            Ok(_) => {}
        }
        sent
    }

    /// Remembers what an error of reading or sending means for those that follow.
    pub(super) fn note(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::FileTooLarge => &self.too_large,
            io::ErrorKind::TimedOut => &self.timed_out,
            // The application's own mistake.
            io::ErrorKind::InvalidData
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted => return,
            _ => &self.gone,
        }
        .store(true, Ordering::Relaxed);
    }

    /// Whether the web server has gone.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Whether the response was not what it announced.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Notes that the application did in `start_response` what is not WSGI: what follows from that is no exception of its own.
    pub(super) fn note_misuse(&self) {
        self.misused.store(true, Ordering::Relaxed);
    }

    /// Counts that the application failed by an exception, `ours` where no line of its own has raised it.
    pub(super) fn note_exception(&self, ours: bool) {
        self.note_failure(if ours || self.misused.load(Ordering::Relaxed) {
            FailureKind::Protocol
        } else {
            FailureKind::Exception
        });
    }

    fn note_failure(&self, kind: FailureKind) {
        self.exchange.note_failure(if self.exchange.has_begun() {
            FailureKind::AfterHead
        } else {
            kind
        });
    }

    /// The page for a request whose body could not be read, where that is why the application failed.
    pub(super) fn page_of_body(&self, of_body: bool) -> Option<Page> {
        if self.too_large.load(Ordering::Relaxed) {
            let text = "The request's body is larger than this server takes.";
            Some(Page::new("413 Content Too Large", text))
        } else if of_body && self.timed_out.load(Ordering::Relaxed) {
            let text = "The request's body did not come within the time limit.";
            Some(Page::new("408 Request Timeout", text))
        } else {
            None
        }
    }

    /// Tells how the last piece of a response went. One that is too short, of which nothing has left, becomes an error
    /// page.
    pub(super) fn conclude(&self, sent: io::Result<Pushed>) {
        let Err(error) = sent else { return };
        // A file that is shorter than it was is no less the application's than a body that is.
        if !matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ) {
            return log::debug!("{}: the web server has gone: {error}", self.subject());
        }
        self.failed.store(true, Ordering::Relaxed);
        self.note_failure(FailureKind::Protocol);
        if self.exchange.has_begun() {
            let text = format!(
                "{}: {error}; the connection is cut, so that the client can tell\n",
                self.subject()
            );
            return self.exchange.report(text.as_bytes());
        }
        let subject = self.subject();
        self.exchange.note_exit(FAILED);
        self.exchange
            .report(format!("{subject}: {error}; answered with 500\n").as_bytes());
        if let Err(error) = self
            .exchange
            .answer_page(&failed_page().with_id(self.exchange.id()))
        {
            log::debug!("{subject}: the web server has gone: {error}");
        }
    }

    /// `GET /path`, for messages: in characters that cannot end a line of the log.
    pub(super) fn subject(&self) -> String {
        let variables = self.exchange.variables();
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

/// What a CGI program exits with whose application has failed.
pub(super) const FAILED: u8 = 1;

/// What the client of an application that failed is told.
pub(super) fn failed_page() -> Page {
    let text = "The application could not answer this request. Its log has the reason.";
    Page::new("500 Internal Server Error", text)
}
