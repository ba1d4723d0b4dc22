//! What there was lately, for plots: a point every few seconds, of which the last are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::status::{Status, TimesStatus};

/// How long from one point to the next.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Points that are kept: ten minutes of them.
pub(super) const KEPT: usize = 120;

/// What there was between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// Requests in a second.
    pub(super) requests: f64,
    /// Connections that waited at the end of it.
    pub(super) waiting: f64,
    /// The time in milliseconds that half of the requests took at the most, and 95 % of them; nothing where there were none.
    pub(super) median: Option<f64>,
    pub(super) p95: Option<f64>,
}

/// The points, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    last: Option<(Instant, u64, TimesStatus)>,
}

impl History {
    /// When the next point is due.
    pub(super) fn due(&self, now: Instant) -> Instant {
        self.last.as_ref().map_or(now, |(at, ..)| *at + EVERY)
    }

    /// Notes how it stands now.
    pub(super) fn note(&mut self, now: Instant, status: &Status) {
        let before = self.last.take();
        self.last = Some((now, status.requests, status.duration.clone()));
        let Some((then, requests, times)) = before else {
            return;
        };
        let seconds = (now - then).as_secs_f64().max(0.001);
        let more = status.requests.saturating_sub(requests) as f64;
        let times = status.duration.histogram().zip(times.histogram());
        let at = |part: f64| {
            let (now, then) = times.as_ref()?;
            let time = now.since(then).quantile(part)?;
            Some(time.as_secs_f64() * 1e3)
        };
        let waiting = status.waiting.iter().filter_map(|it| it.connections);
        self.points.push_back(Point {
            requests: more / seconds,
            waiting: waiting.sum::<u64>() as f64,
            median: at(0.5),
            p95: at(0.95),
        });
        while self.points.len() > KEPT {
            self.points.pop_front();
        }
    }

    pub(super) fn points(&self) -> impl ExactSizeIterator<Item = &Point> + Clone {
        self.points.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{EVERY, History, KEPT};
    use crate::control::Status;
    use std::time::Instant;

    #[test]
    fn a_point_is_what_was_between_two_looks() {
        let mut history = History::default();
        let mut now = Instant::now();
        let mut status = Status::default();
        for look in 0..KEPT as u64 + 5 {
            status.requests = look * 50;
            assert!(history.due(now) <= now);
            history.note(now, &status);
            now += EVERY;
        }
        assert_eq!(history.points().len(), KEPT);
        assert!(history.points().all(|point| point.requests.round() == 10.0));
        assert!(history.points().all(|point| point.p95.is_none()));
    }
}
