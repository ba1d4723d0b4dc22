//! What came of a request, noted where it happens and read when the application is done with it. Any thread of the application
//! may send, and the control thread may answer in its place.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use crate::gateway::{FailureKind, Portion, Refusal, RequestFigures, Tally};

/// What came of a request so far.
#[derive(Debug)]
pub(super) struct ExchangeFigures {
    /// Nanoseconds of the monotonic clock.
    pub(super) begun: u64,
    waited: u64,
    /// Of the answer; 0 where there is none, or it was counted.
    status: AtomicU16,
    /// Bytes of the response's body.
    sent: AtomicU64,
    /// Of the request's body, where all of it had come before the application was called.
    pub(super) received: Option<u64>,
    /// What has gone wrong: bits of `fault`.
    faults: AtomicU8,
}

mod fault {
    pub(super) const LEFT: u8 = 1;
    pub(super) const TOO_LARGE: u8 = 2;
    pub(super) const TIMED_OUT: u8 = 4;
    pub(super) const EXCEPTION: u8 = 8;
    pub(super) const PROTOCOL: u8 = 16;
    pub(super) const AFTER_HEAD: u8 = 32;
    pub(super) const ANSWERED: u8 = 64;
}

impl ExchangeFigures {
    pub(super) fn new(begun: u64, waited: u64, received: Option<u64>) -> Self {
        Self {
            begun,
            waited,
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
            received,
            faults: AtomicU8::new(0),
        }
    }

    fn has(&self, fault: u8) -> bool {
        self.faults.load(Ordering::Relaxed) & fault != 0
    }

    /// Notes it; `true` the first time.
    fn set(&self, fault: u8) -> bool {
        self.faults.fetch_or(fault, Ordering::Relaxed) & fault == 0
    }

    /// A piece of the response is on its way. Only one thread at a time has one.
    pub(super) fn note_piece(&self, portion: &Portion) {
        if let Some(head) = &portion.head {
            self.status.store(head.code(), Ordering::Relaxed);
        }
        self.note_bytes(portion.bytes);
    }

    /// So many bytes of the response's body are, likewise.
    pub(super) fn note_bytes(&self, bytes: u64) {
        let before = self.sent.load(Ordering::Relaxed);
        self.sent.store(before + bytes, Ordering::Relaxed);
    }

    /// It was answered in the application's place.
    pub(super) fn note_answer(&self, status: u16) {
        self.set(fault::ANSWERED);
        self.status.store(status, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self, kind: FailureKind) {
        self.set(match kind {
            FailureKind::Exception => fault::EXCEPTION,
            FailureKind::Protocol => fault::PROTOCOL,
            FailureKind::AfterHead => fault::AFTER_HEAD,
        });
    }

    /// What the application was told of reading or sending.
    pub(super) fn note_error(&self, error: &io::Error, tally: &dyn Tally) {
        match error.kind() {
            io::ErrorKind::FileTooLarge if self.set(fault::TOO_LARGE) => {
                tally.refused(Refusal::Body);
            }
            io::ErrorKind::TimedOut if self.set(fault::TIMED_OUT) => {
                tally.refused(Refusal::IoTimeout);
            }
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => drop(self.set(fault::LEFT)),
            _ => {}
        }
    }

    /// The status code of the answer, once.
    pub(super) fn take_status(&self) -> Option<u16> {
        let status = self.status.swap(0, Ordering::Relaxed);
        (status != 0).then_some(status)
    }

    /// What came of it. `received`: bytes of the request's body that came in all.
    pub(super) fn read(&self, received: u64) -> RequestFigures {
        let failure = if self.has(fault::AFTER_HEAD) {
            Some(FailureKind::AfterHead)
        } else if self.has(fault::PROTOCOL) {
            Some(FailureKind::Protocol)
        } else if self.has(fault::EXCEPTION) {
            Some(FailureKind::Exception)
        } else {
            None
        };
        RequestFigures {
            waited: self.waited,
            status: self.take_status(),
            received,
            sent: self.sent.load(Ordering::Relaxed),
            failure,
            // What an application meets that was answered for is no web server's doing.
            was_left: self.has(fault::LEFT) && !self.has(fault::ANSWERED),
        }
    }
}
