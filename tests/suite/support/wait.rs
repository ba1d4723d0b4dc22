//! Waits for what nobody tells of: a process that has come or gone, a file, a line. Never longer than the deadline.

use std::thread;
use std::time::{Duration, Instant};

use super::gateway::DEADLINE;

/// Asks until there is an answer. `otherwise` is what to say when there never is.
#[track_caller]
pub(crate) fn answer<T>(
    mut ask: impl FnMut() -> Option<T>,
    otherwise: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{}", otherwise());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Asks until it is so.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool, otherwise: impl FnOnce() -> String) {
    answer(|| is_so().then_some(()), otherwise);
}
