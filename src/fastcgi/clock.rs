//! The time. That for deadlines of seconds is as of the kernel's last tick, some milliseconds ago at the most, which costs a
//! third of reading the hardware's clock (CLOCK_MONOTONIC_COARSE in clock_gettime(2)).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since some moment that is the same for all who ask.
pub(super) fn lately() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}

/// Nanoseconds of the monotonic clock, which all processes share; never 0.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1)
}
