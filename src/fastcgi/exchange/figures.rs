//! What came of a request, noted where it happens and read when the application is done with it. Any thread of the application
//! may send, and the control thread may answer in its place.

use std::io;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::super::clock::now;
use crate::gateway::{Bookkeeper, FailureKind, Portion, Refusal, RequestFigures};

/// What came of a request so far.
#[derive(Debug)]
pub(super) struct ExchangeFigures {
    /// Nanoseconds of the monotonic clock.
    pub(super) begun: u64,
    waited: u64,
    /// Of the answer; 0 where there is none.
    status: AtomicU16,
    /// Bytes of the response's body.
    sent: AtomicU64,
    /// Of the request's body, where all of it had come before the application was called.
    pub(super) received: Option<u64>,
    /// When its head left, where that was before its end, in nanoseconds of the monotonic clock; else 0.
    first: AtomicU64,
    /// What has happened to it: bits of `fate`.
    fates: AtomicU16,
}

mod fate {
    pub(super) const LEFT: u16 = 1;
    pub(super) const TOO_LARGE: u16 = 2;
    pub(super) const TIMED_OUT: u16 = 4;
    pub(super) const EXCEPTION: u16 = 8;
    pub(super) const PROTOCOL: u16 = 16;
    pub(super) const AFTER_HEAD: u16 = 32;
    pub(super) const ANSWERED: u16 = 64;
    pub(super) const COUNTED: u16 = 128;
    pub(super) const TOLD: u16 = 256;
}

impl ExchangeFigures {
    pub(super) fn new(begun: u64, waited: u64, received: Option<u64>) -> Self {
        Self {
            begun,
            waited,
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            received,
            first: AtomicU64::new(0),
            fates: AtomicU16::new(0),
        }
    }

    fn has(&self, fate: u16) -> bool {
        self.fates.load(Ordering::Relaxed) & fate != 0
    }

    /// Notes it; `true` the first time.
    fn set(&self, fate: u16) -> bool {
        self.fates.fetch_or(fate, Ordering::Relaxed) & fate == 0
    }

    /// A piece of the response is on its way. Only one thread at a time has one.
    pub(super) fn note_piece(&self, portion: &Portion) {
        if let Some(head) = &portion.head {
            self.status.store(head.code(), Ordering::Relaxed);
            if !portion.ends {
                self.first.store(now(), Ordering::Relaxed);
            }
        }
        self.note_bytes(portion.bytes);
    }

    /// So many bytes of the response's body are, likewise.
    pub(super) fn note_bytes(&self, bytes: u64) {
        let before = self.sent.load(Ordering::Relaxed);
        self.sent.store(before + bytes, Ordering::Relaxed);
    }

    /// It was answered in the application's place, or what that had begun to answer was broken off, and keeps its status.
    pub(super) fn note_answer(&self, status: u16) {
        self.set(fate::ANSWERED);
        let _ = (self.status).compare_exchange(0, status, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self, kind: FailureKind) {
        self.set(match kind {
            FailureKind::Exception => fate::EXCEPTION,
            FailureKind::Protocol => fate::PROTOCOL,
            FailureKind::AfterHead => fate::AFTER_HEAD,
        });
    }

    /// What the application was told of reading or sending.
    pub(super) fn note_error(&self, error: &io::Error, tally: &dyn Bookkeeper) {
        match error.kind() {
            io::ErrorKind::FileTooLarge if self.set(fate::TOO_LARGE) => {
                tally.refused(Refusal::Body);
            }
            io::ErrorKind::TimedOut if self.set(fate::TIMED_OUT) => {
                tally.refused(Refusal::IoTimeout);
            }
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => drop(self.set(fate::LEFT)),
            _ => {}
        }
    }

    fn status(&self) -> Option<u16> {
        let status = self.status.load(Ordering::Relaxed);
        (status != 0).then_some(status)
    }

    /// The status code of the answer, for who counts it: once.
    pub(super) fn take_status(&self) -> Option<u16> {
        self.status().filter(|_| self.set(fate::COUNTED))
    }

    /// Whether nobody has told of it yet; once.
    pub(super) fn is_to_be_told(&self) -> bool {
        self.set(fate::TOLD)
    }

    pub(super) fn first(&self) -> Option<u64> {
        let first = self.first.load(Ordering::Relaxed);
        (first != 0).then_some(first)
    }

    /// What came of it. `received`: bytes of the request's body that came in all.
    pub(super) fn read(&self, received: u64) -> RequestFigures {
        let failure = if self.has(fate::AFTER_HEAD) {
            Some(FailureKind::AfterHead)
        } else if self.has(fate::PROTOCOL) {
            Some(FailureKind::Protocol)
        } else if self.has(fate::EXCEPTION) {
            Some(FailureKind::Exception)
        } else {
            None
        };
        RequestFigures {
            waited: self.waited,
            status: self.status(),
            is_counted: self.has(fate::COUNTED),
            received,
            sent: self.sent.load(Ordering::Relaxed),
            failure,
            // What an application meets that was answered for is no web server's doing.
            was_left: self.has(fate::LEFT) && !self.has(fate::ANSWERED),
        }
    }
}
