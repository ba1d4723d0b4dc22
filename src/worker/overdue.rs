//! Requests that have had their time: they were answered in the application's place and interrupted, and their threads are
//! waited for.

use std::time::{Duration, Instant};

use crate::process::Running;

/// The requests that have had their time.
#[derive(Default)]
pub(super) struct OverdueRequests(Vec<OverdueRequest>);

struct OverdueRequest {
    request: Running,
    since: Instant,
    /// When its thread is not waited for any more.
    until: Instant,
    /// Whether it is not, so that the worker has to end.
    is_lost: bool,
}

/// What has become of one.
pub(super) enum OverdueEnd {
    /// Its thread was back after this time, and serves again.
    Back(Running, Duration),
    /// Its thread has not come back in time.
    Lost(Running),
}

impl OverdueRequests {
    /// This one has had its time, and its thread so much more to come back.
    pub(super) fn add(&mut self, request: Running, wait: Duration) {
        let since = Instant::now();
        self.0.push(OverdueRequest {
            request,
            since,
            until: since + wait,
            is_lost: false,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, request: &Running) -> bool {
        self.0.iter().any(|overdue| overdue.is(request))
    }

    /// Whether this is one that is not waited for any more.
    pub(super) fn is_lost(&self, request: &Running) -> bool {
        let mut overdue = self.0.iter();
        overdue.any(|overdue| overdue.is(request) && overdue.is_lost)
    }

    /// Looks what has become of them by now, and forgets those that are back. What has become of one is given once.
    pub(super) fn settle(&mut self, running: &[Running]) -> Vec<OverdueEnd> {
        let now = Instant::now();
        let mut ends = Vec::new();
        self.0.retain_mut(|overdue| {
            let still = running.iter().any(|request| overdue.is(request));
            if !still && !overdue.is_lost {
                let passed = now.saturating_duration_since(overdue.since);
                ends.push(OverdueEnd::Back(overdue.request.clone(), passed));
            } else if now >= overdue.until && !overdue.is_lost {
                overdue.is_lost = true;
                ends.push(OverdueEnd::Lost(overdue.request.clone()));
            }
            still || overdue.is_lost
        });
        ends
    }
}

impl OverdueRequest {
    fn is(&self, request: &Running) -> bool {
        (self.request.thread, self.request.begun) == (request.thread, request.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::{OverdueEnd, OverdueRequests};
    use crate::process::Running;
    use std::time::Duration;

    fn running(thread: usize, begun: u64) -> Running {
        Running {
            thread,
            tid: 1,
            begun,
            age: Duration::ZERO,
            request: "GET /".to_owned(),
            id: String::new(),
        }
    }

    #[test]
    fn a_thread_is_back_with_its_next_request() {
        let mut overdue = OverdueRequests::default();
        overdue.add(running(0, 1), Duration::from_secs(3600));
        overdue.add(running(1, 1), Duration::ZERO);
        let now = [running(0, 1), running(1, 1)];
        let ends = overdue.settle(&now);
        assert!(matches!(&ends[..], [OverdueEnd::Lost(request)] if request.thread == 1));
        assert!(overdue.settle(&now).is_empty());
        assert!(overdue.has(&now[0]) && !overdue.is_lost(&now[0]) && overdue.is_lost(&now[1]));
        let ends = overdue.settle(&[running(0, 2)]);
        assert!(matches!(&ends[..], [OverdueEnd::Back(request, _)] if request.thread == 0));
        assert!(!overdue.has(&running(0, 2)) && overdue.is_lost(&now[1]));
    }
}
