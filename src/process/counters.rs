//! The counters of a worker, as they lie in the scoreboard: zeroes when it begins, and only ever more of them.
//!
//! What every request counts is its thread's own, which alone writes there, so that a request pays for plain stores and for no
//! lock of the processor's bus; what is rare is counted for the worker by whatever thread it happens in.

use std::sync::atomic::{AtomicU64, Ordering};

use super::totals::{Histogram, Totals};
use crate::gateway::{FailureKind, Refusal, RequestFigures};

/// What a thread counts with each of its requests.
#[repr(C)]
pub(super) struct ThreadCounters {
    answers: [AtomicU64; 5],
    duration: TimeCounters,
    waited: TimeCounters,
    received: AtomicU64,
    sent: AtomicU64,
    exceptions: AtomicU64,
    misuses: AtomicU64,
    after_head: AtomicU64,
    was_left: AtomicU64,
}

/// How many requests took how long.
#[repr(C)]
struct TimeCounters {
    counts: [AtomicU64; Histogram::BUCKETS],
    /// In nanoseconds.
    sum: AtomicU64,
}

/// What any thread of a worker counts.
#[repr(C)]
pub(super) struct WorkerCounters {
    answers: [AtomicU64; 5],
    refused: [AtomicU64; 5],
    was_left: AtomicU64,
    pub(super) slow: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) log_dropped: AtomicU64,
}

/// Counts what only this thread counts there.
fn add_own(counter: &AtomicU64, more: u64) {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(more), Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The place of a status code's class.
fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 5) - 1
}

impl TimeCounters {
    fn count(&self, nanoseconds: u64) {
        add_own(&self.counts[Histogram::bucket(nanoseconds)], 1);
        add_own(&self.sum, nanoseconds);
    }

    fn read(&self) -> Histogram {
        Histogram {
            counts: self.counts.each_ref().map(read),
            sum: read(&self.sum) / 1000,
        }
    }
}

impl ThreadCounters {
    /// A request has ended after so many nanoseconds. To be called by the thread itself.
    pub(super) fn count(&self, duration: u64, request: &RequestFigures) {
        self.duration.count(duration);
        self.waited.count(request.waited);
        if let Some(status) = request.status.filter(|_| !request.is_counted) {
            add_own(&self.answers[class(status)], 1);
        }
        add_own(&self.sent, request.sent);
        if request.received > 0 {
            add_own(&self.received, request.received);
        }
        if request.was_left {
            add_own(&self.was_left, 1);
        }
        match request.failure {
            None => {}
            Some(FailureKind::Exception) => add_own(&self.exceptions, 1),
            Some(FailureKind::Protocol) => add_own(&self.misuses, 1),
            Some(FailureKind::AfterHead) => add_own(&self.after_head, 1),
        }
    }

    /// Adds them to those of others.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        let mut own = Totals {
            answers: self.answers.each_ref().map(read),
            duration: self.duration.read(),
            waited: self.waited.read(),
            received: read(&self.received),
            sent: read(&self.sent),
            client_aborts: read(&self.was_left),
            ..Totals::default()
        };
        own.failures.exception = read(&self.exceptions);
        own.failures.protocol = read(&self.misuses);
        own.failures.after_head = read(&self.after_head);
        totals.add(&own);
    }
}

impl WorkerCounters {
    /// One more of what is counted there.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_answer(&self, status: u16) {
        Self::count(&self.answers[class(status)]);
    }

    pub(super) fn count_refusal(&self, reason: Refusal) {
        Self::count(&self.refused[reason as usize]);
    }

    pub(super) fn count_left(&self) {
        Self::count(&self.was_left);
    }

    /// What they say, with no requests.
    pub(super) fn read(&self) -> Totals {
        let refused = |reason: Refusal| read(&self.refused[reason as usize]);
        let mut totals = Totals {
            answers: self.answers.each_ref().map(read),
            client_aborts: read(&self.was_left),
            slow: read(&self.slow),
            timeouts: read(&self.timeouts),
            connections: read(&self.opened).saturating_sub(read(&self.closed)),
            log_dropped: read(&self.log_dropped),
            ..Totals::default()
        };
        totals.refused.connections = refused(Refusal::Connections);
        totals.refused.body = refused(Refusal::Body);
        totals.refused.params = refused(Refusal::Params);
        totals.refused.header_timeout = refused(Refusal::HeaderTimeout);
        totals.refused.io_timeout = refused(Refusal::IoTimeout);
        totals
    }
}
