//! The figures of a worker, or of several, for who reads them: plain numbers, copied out of the scoreboard. Any code in a
//! worker can have written anything there, so that sums end at the largest number and nothing here divides by one unseen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many requests took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many were in each bucket: over the bound before, and no longer than that of [`Histogram::BOUNDS`] of the same number.
    /// The last holds those above all bounds.
    pub counts: [u64; Histogram::BUCKETS],
    /// The sum of all of them, in microseconds.
    pub sum: u64,
}

/// How often an application has failed, by [`FailureKind`](crate::gateway::FailureKind).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureTotals {
    /// It raised.
    pub exception: u64,
    /// What it did is not WSGI.
    pub protocol: u64,
    /// In either way, with a part of the response gone.
    pub after_head: u64,
}

/// How many requests were not served as they were sent, by [`Refusal`](crate::gateway::Refusal).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalTotals {
    /// For `--max-connections`.
    pub connections: u64,
    /// For `--max-body`.
    pub body: u64,
    /// For `--max-params`.
    pub params: u64,
    /// For `--header-timeout`.
    pub header_timeout: u64,
    /// For `--io-timeout`.
    pub io_timeout: u64,
}

/// What one worker has done since it began, or several have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests that the application was given.
    pub requests: u64,
    /// Answers by the first digit of their status code, 1xx to 5xx: those of the gateway's own too, such as refusals, so that
    /// they may be more than the requests. Those that nobody got, as the client had gone, are not among them.
    pub answers: [u64; 5],
    /// Time from when a request was given to a thread until the application was done with it: its last block has left, or
    /// lies ready for a web server that is slow to take it.
    pub duration: Histogram,
    /// Time that a request waited for a thread, as far as the worker has seen it: in the queue of a listening socket
    /// from when it was seen there, on a kept connection from when that was readable. So it is the least that it waited.
    pub waited: Histogram,
    /// Bytes of requests' bodies that came.
    pub received: u64,
    /// Bytes of responses' bodies that were sent, heads not counted.
    pub sent: u64,
    /// How often the application has failed.
    pub failures: FailureTotals,
    /// Requests whose client, or web server, had gone before their end.
    pub client_aborts: u64,
    /// Requests that ran longer than `--slow-log`.
    pub slow: u64,
    /// Requests that ran longer than `--request-timeout`.
    pub timeouts: u64,
    /// Requests that were not served as they were sent.
    pub refused: RefusalTotals,
    /// Connections that are open now.
    pub connections: u64,
    /// Lines of the access log that were dropped, as nobody took them.
    pub log_dropped: u64,
}

impl Histogram {
    /// Buckets, that above all bounds included.
    pub const BUCKETS: usize = Self::BOUNDS.len() + 1;

    /// The upper bounds of the buckets but the last, in microseconds, each of which belongs to its bucket.
    pub const BOUNDS: [u64; 15] = [
        1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];

    /// The bucket of a time in nanoseconds.
    pub(super) fn bucket(nanoseconds: u64) -> usize {
        // Most take less than the first bound, and those that do not can spare the nanoseconds.
        let is_within = |bound: &u64| nanoseconds <= bound * 1000;
        Self::BOUNDS
            .iter()
            .position(is_within)
            .unwrap_or(Self::BOUNDS.len())
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The time that so large a part of them (0.95) took at the most, supposed that those of one bucket lie evenly in it; those
    /// above all bounds are told as the last of these. Nothing where there were none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let wanted = all as f64 * part.clamp(0.0, 1.0);
        let (mut below, mut lower) = (0.0, 0);
        for (&count, &upper) in self.counts.iter().zip(&Self::BOUNDS) {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                let inside = ((wanted - below) / count).clamp(0.0, 1.0);
                let micros = lower as f64 + (upper - lower) as f64 * inside;
                return Some(Duration::from_secs_f64(micros / 1e6));
            }
            below += count;
            lower = upper;
        }
        Some(Duration::from_micros(lower))
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            add(count, *more);
        }
        add(&mut self.sum, other.sum);
    }

    /// Those that have come since an earlier look at the same figures; nothing where it was not earlier.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(&earlier.counts) {
            *count = count.saturating_sub(*before);
        }
        since.sum = since.sum.saturating_sub(earlier.sum);
        since
    }
}

impl Totals {
    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        self.add_ended(other);
        add(&mut self.connections, other.connections);
    }

    /// Adds those of a worker that has ended, which has no connections any more, whatever it had time to write.
    pub fn add_ended(&mut self, other: &Self) {
        add(&mut self.requests, other.requests);
        for (count, more) in self.answers.iter_mut().zip(other.answers) {
            add(count, more);
        }
        self.duration.add(&other.duration);
        self.waited.add(&other.waited);
        let (failures, refused) = (&mut self.failures, &mut self.refused);
        for (count, more) in [
            (&mut self.received, other.received),
            (&mut self.sent, other.sent),
            (&mut failures.exception, other.failures.exception),
            (&mut failures.protocol, other.failures.protocol),
            (&mut failures.after_head, other.failures.after_head),
            (&mut self.client_aborts, other.client_aborts),
            (&mut self.slow, other.slow),
            (&mut self.timeouts, other.timeouts),
            (&mut refused.connections, other.refused.connections),
            (&mut refused.body, other.refused.body),
            (&mut refused.params, other.refused.params),
            (&mut refused.header_timeout, other.refused.header_timeout),
            (&mut refused.io_timeout, other.refused.io_timeout),
            (&mut self.log_dropped, other.log_dropped),
        ] {
            add(count, more);
        }
    }
}

fn add(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::{Histogram, Totals};
    use std::time::Duration;

    #[test]
    fn a_time_is_in_the_bucket_of_its_bound() {
        for (micros, bucket) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (60_000_000, 14),
            (60_000_001, 15),
        ] {
            assert_eq!(Histogram::bucket(micros * 1000), bucket, "{micros}");
        }
        assert_eq!(Histogram::bucket(u64::MAX), 15);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut times = Histogram::default();
        assert_eq!(times.quantile(0.5), None);
        times.counts[0] = 90;
        times.counts[3] = 10;
        let at = |part| times.quantile(part).unwrap();
        assert_eq!(at(0.45), Duration::from_micros(500));
        assert_eq!(at(0.9), Duration::from_millis(1));
        assert_eq!(at(0.95), Duration::from_micros(7_500));
        assert_eq!(at(1.0), Duration::from_millis(10));
        times.counts[15] = 1000;
        assert_eq!(times.quantile(0.99), Some(Duration::from_secs(60)));
        assert_eq!(times.quantile(f64::NAN), Some(Duration::from_secs(60)));
    }

    #[test]
    fn sums_end_at_the_largest_number() {
        let mut all = Totals::default();
        let one = Totals {
            requests: u64::MAX,
            answers: [1; 5],
            connections: 3,
            ..Totals::default()
        };
        all.add(&one);
        all.add_ended(&one);
        assert_eq!((all.requests, all.answers[4]), (u64::MAX, 2));
        assert_eq!(all.connections, 3);
        all.duration.counts = [u64::MAX; Histogram::BUCKETS];
        assert_eq!(all.duration.count(), u64::MAX);
        assert!(all.duration.quantile(0.5).is_some());
    }
}
