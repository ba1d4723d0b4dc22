//! What was told in the last minute, and how much of it there is in a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::control::Status;
use crate::process::Histogram;

/// How long what was told is kept.
const KEPT: Duration = Duration::from_secs(60);

/// What was told, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<(Instant, Status)>);

/// How much more there is than at an earlier look, and how long ago that was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) now: &'a Status,
    pub(super) then: &'a Status,
    pub(super) seconds: f64,
}

impl Samples {
    pub(super) fn add(&mut self, at: Instant, status: Status) {
        // Another gateway of the same name counts from nothing.
        if self
            .0
            .back()
            .is_some_and(|(_, last)| last.pid != status.pid)
        {
            self.0.clear();
        }
        self.0.push_back((at, status));
        while self.0.front().is_some_and(|(first, _)| at - *first > KEPT) {
            self.0.pop_front();
        }
    }

    /// How it stands now.
    pub(super) fn last(&self) -> Option<&Status> {
        self.0.back().map(|(_, status)| status)
    }

    /// What has changed since the last look before.
    pub(super) fn lately(&self) -> Option<Change<'_>> {
        self.since(self.0.len().checked_sub(2)?)
    }

    /// What has changed in the last minute, or since the first look.
    pub(super) fn in_a_minute(&self) -> Option<Change<'_>> {
        self.since(0)
    }

    fn since(&self, index: usize) -> Option<Change<'_>> {
        let (at, now) = self.0.back()?;
        let (then_at, then) = self.0.get(index)?;
        let seconds = (*at - *then_at).as_secs_f64();
        (seconds > 0.0).then_some(Change { now, then, seconds })
    }

    /// The most of this in the last so many looks.
    pub(super) fn most(&self, looks: usize, value: impl Fn(&Status) -> u64) -> u64 {
        let last = self.0.iter().rev().take(looks);
        last.map(|(_, status)| value(status)).max().unwrap_or(0)
    }
}

impl Change<'_> {
    /// How much more of this there is.
    pub(super) fn more(&self, value: impl Fn(&Status) -> u64) -> u64 {
        value(self.now).saturating_sub(value(self.then))
    }

    /// The same in a second.
    pub(super) fn rate(&self, value: impl Fn(&Status) -> u64) -> f64 {
        self.more(value) as f64 / self.seconds
    }

    /// How long requests took meanwhile.
    pub(super) fn times(&self) -> Option<Histogram> {
        let now = self.now.duration.histogram()?;
        Some(now.since(&self.then.duration.histogram()?))
    }
}
