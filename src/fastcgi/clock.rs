//! The time for deadlines of seconds, read with every request: as of the kernel's last tick, some milliseconds ago at the
//! most, which costs a fifth of reading the hardware's clock (CLOCK_MONOTONIC_COARSE in clock_gettime(2)).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The time since some moment that is the same for all who ask.
pub(super) fn lately() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}
