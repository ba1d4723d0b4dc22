//! How many workers there shall be: one rule for static, dynamic and on-demand pools. Numbers in, numbers out; what they
//! are about is in `master`.

use std::time::{Duration, Instant};

/// How long a pool without a free worker has to have requests waiting before it grows, when nobody reports that it is
/// full: requests that are short leave a moment in which one waits at any time.
const WAITING: Duration = Duration::from_millis(250);

/// Two growths within this time are the same burst: each is twice the one before.
const BURST: Duration = Duration::from_secs(1);

/// How often it is told that there are too few workers: under load there is one free every now and then.
const COMPLAINT: Duration = Duration::from_secs(60);

/// The first crash is answered at once, the next ones after this, doubled each time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// A worker that has served for so long has nothing to do with crashes before it.
const STEADY: Duration = Duration::from_secs(10);

/// What comes of it that no worker is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Nothing yet.
    None,
    /// So many more are wanted.
    By(usize),
    /// There are as many as there may be: the operator is to know, now.
    TooFew,
}

/// The number of workers that are wanted.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) min: usize,
    pub(super) max: usize,
    wanted: usize,
    /// How many the next growth adds.
    step: usize,
    grown: Option<Instant>,
    waiting_since: Option<Instant>,
    complained: Option<Instant>,
}

impl Pool {
    pub(super) fn new(min: usize, max: usize) -> Self {
        Self {
            min,
            max,
            wanted: min,
            step: 1,
            grown: None,
            waiting_since: None,
            complained: None,
        }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether it may grow.
    pub(super) fn has_room(&self) -> bool {
        self.wanted < self.max
    }

    /// Whether its size changes by itself.
    pub(super) fn is_static(&self) -> bool {
        self.min == self.max
    }

    /// No worker is free. `waiting`: whether a request waits for one. `told`: whether a worker has reported that all its
    /// threads are in long requests. What comes of it.
    pub(super) fn no_worker_free(&mut self, now: Instant, waiting: bool, told: bool) -> Growth {
        if !waiting {
            self.waiting_since = None;
            return Growth::None;
        }
        let since = *self.waiting_since.get_or_insert(now);
        if self.wanted > 0 && !told && now < since + WAITING {
            return Growth::None;
        }
        if !self.has_room() {
            if self.complained.is_some_and(|last| now < last + COMPLAINT) {
                return Growth::None;
            }
            self.complained = Some(now);
            return Growth::TooFew;
        }
        self.step = match self.grown {
            Some(grown) if now < grown + BURST => self.step * 2,
            _ => 1,
        };
        let added = self.step.min(self.max - self.wanted);
        self.wanted += added;
        self.grown = Some(now);
        self.waiting_since = None;
        Growth::By(added)
    }

    /// A worker is free: nothing waits.
    pub(super) fn worker_free(&mut self) {
        self.waiting_since = None;
    }

    /// Takes one off, after it was idle for too long; `false` when there are no more than the least number.
    pub(super) fn shrink(&mut self) -> bool {
        let may = self.wanted > self.min;
        self.wanted -= usize::from(may);
        may
    }

    /// One worker more, or fewer, on the operator's word.
    pub(super) fn change(&mut self, by: isize, most: usize) {
        self.max = self.max.saturating_add_signed(by).clamp(1, most);
        if self.min > 0 {
            self.min = self.min.saturating_add_signed(by).clamp(1, self.max);
        }
        let least = if by > 0 { self.wanted + 1 } else { self.min };
        self.wanted = self.wanted.max(least).clamp(self.min, self.max);
    }
}

/// When the next worker may be made, after crashes.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Backoff {
    /// A worker has died, after it had served for so long; gives how long the next has to wait.
    pub(super) fn died(&mut self, now: Instant, served: Duration) -> Duration {
        let long_ago = self
            .last
            .is_some_and(|last| now >= last + LONGEST_DELAY + STEADY);
        if served >= STEADY || long_ago {
            self.failures = 0;
        }
        let delay = match self.failures {
            0 => Duration::ZERO,
            failures => FIRST_DELAY * (1 << (failures - 1).min(10)),
        };
        let delay = delay.min(LONGEST_DELAY);
        self.failures += 1;
        self.last = Some(now);
        self.until = Some(now + delay);
        delay
    }

    /// A worker has died that had answered something: it was not in vain to make it, and so may the next be at once. No
    /// more than one for each of these is made before its time.
    pub(super) fn allow_next(&mut self) -> Duration {
        self.until = None;
        Duration::ZERO
    }

    /// Whether one has died that has not been forgotten.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// When the next may be made; nothing when it may be now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// There is something new to be made, which has not failed yet.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Growth, Pool};
    use std::time::{Duration, Instant};

    #[test]
    fn a_pool_on_demand_grows_by_doubling_to_its_most_and_shrinks_to_nothing() {
        let mut pool = Pool::new(0, 10);
        let start = Instant::now();
        assert_eq!(pool.no_worker_free(start, false, false), Growth::None);
        let mut sizes = Vec::new();
        for turn in 0..6 {
            pool.no_worker_free(start + Duration::from_millis(turn * 100), true, true);
            sizes.push(pool.wanted());
        }
        assert_eq!(sizes, [1, 3, 7, 10, 10, 10]);
        let shrunk = (0..20).filter(|_| pool.shrink()).count();
        assert_eq!((shrunk, pool.wanted()), (10, 0));
    }

    #[test]
    fn short_requests_have_to_wait_for_a_while_before_a_pool_grows() {
        let mut pool = Pool::new(1, 4);
        let start = Instant::now();
        assert_eq!(pool.no_worker_free(start, true, false), Growth::None);
        pool.worker_free();
        let later = start + Duration::from_millis(300);
        assert_eq!(pool.no_worker_free(later, true, false), Growth::None);
        assert_eq!(
            pool.no_worker_free(later + Duration::from_millis(300), true, false),
            Growth::By(1)
        );
    }

    #[test]
    fn a_static_pool_changes_on_the_operator_s_word_only() {
        let mut pool = Pool::new(2, 2);
        assert_eq!(
            pool.no_worker_free(Instant::now(), true, true),
            Growth::TooFew
        );
        assert!(!pool.shrink());
        pool.change(1, 8);
        assert_eq!((pool.min, pool.max, pool.wanted()), (3, 3, 3));
        pool.change(-1, 8);
        pool.change(-1, 8);
        pool.change(-1, 8);
        assert_eq!((pool.min, pool.max, pool.wanted()), (1, 1, 1));
    }

    #[test]
    fn too_few_workers_are_told_once_a_minute() {
        let mut pool = Pool::new(1, 1);
        let now = Instant::now();
        let mut told = |after: u64| {
            let growth = pool.no_worker_free(now + Duration::from_secs(after), true, true);
            pool.worker_free();
            growth
        };
        assert_eq!(told(0), Growth::TooFew);
        assert_eq!(told(30), Growth::None);
        assert_eq!(told(60), Growth::TooFew);
    }

    #[test]
    fn crashes_in_a_row_wait_longer_and_longer() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let delays: Vec<u128> = (0..10)
            .map(|_| backoff.died(now, Duration::ZERO).as_millis())
            .collect();
        assert_eq!(delays[..5], [0, 100, 200, 400, 800]);
        assert_eq!(delays[9], 10_000);
        assert!(backoff.until(now).is_some());
        assert_eq!(backoff.allow_next(), Duration::ZERO);
        assert!(backoff.until(now).is_none());
        assert_eq!(backoff.died(now, Duration::ZERO).as_millis(), 10_000);
        assert_eq!(backoff.died(now, Duration::from_secs(60)), Duration::ZERO);
    }
}
