//! How a length of time is told.

use std::fmt;
use std::time::Duration;

/// A length of time for messages, as Rust shows it: but none is `0s`, and not so many nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct TimeSpan(pub Duration);

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_zero() {
            true => f.write_str("0s"),
            false => fmt::Debug::fmt(&self.0, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TimeSpan;
    use std::time::Duration;

    #[test]
    fn no_time_is_in_seconds() {
        let shown =
            |millis, precision| format!("{:.precision$}", TimeSpan(Duration::from_millis(millis)));
        assert_eq!(
            [shown(0, 1), shown(1500, 1), shown(118, 0)],
            ["0s", "1.5s", "118ms"]
        );
    }
}
