//! The clock.
//!
//! CLOCK_BOOTTIME goes on while the machine sleeps. The monotonic clock stands still then, so a laptop
//! opened after a night would take a session for seconds old that its server has long given up.

use std::time::Duration;

use handover_proto::Instant;
use nix::time::{ClockId, clock_gettime};

/// The time since the machine was started.
///
/// # Panics
///
/// Never on Linux, where this clock always exists.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has this clock since 2.6.39");
    // 64 bits of microseconds are half a million years.
    Instant::from_micros(u64::try_from(Duration::from(time).as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let first = now();
        let started = std::time::Instant::now();
        while now() == first {
            assert!(
                started.elapsed() < Duration::from_secs(1),
                "the clock stands still"
            );
        }
        assert!(now() > first);
    }
}
