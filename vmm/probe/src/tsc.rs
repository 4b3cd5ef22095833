//! The rate of the host's time stamp counter.
//!
//! An emulated guest that has to find it out by itself does so against an
//! emulated timer: that takes 50 ms, and on a busy host goes wrong so far that
//! the guest falls back to a clock of 10 ms resolution.

#![allow(unsafe_code)] // RDTSC is an intrinsic.

use std::time::{Duration, Instant};

/// Shortest time that gives a rate which is right to about 10 ppm.
const WINDOW: Duration = Duration::from_millis(5);

/// A measurement of it, beside whatever else there is to do.
pub struct Tsc {
    begun: Instant,
    ticks: u64,
}

impl Tsc {
    /// Begins to measure.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            ticks: ticks(),
        }
    }

    /// Kilohertz. Waits for what is missing of the window.
    #[must_use]
    pub fn khz(&self) -> u64 {
        std::thread::sleep(WINDOW.saturating_sub(self.begun.elapsed()));
        let (elapsed, now) = (self.begun.elapsed(), ticks());
        let ticks = u128::from(now.wrapping_sub(self.ticks));
        let khz = ticks * 1_000_000 / elapsed.as_nanos().max(1);
        u64::try_from(khz).unwrap_or(u64::MAX)
    }
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and Linux leaves it to user
    // space unless a process gave it up with prctl(PR_SET_TSC).
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let first = Tsc::begin().khz();
        let long = Tsc::begin();
        std::thread::sleep(Duration::from_millis(50));
        let second = long.khz();
        let difference = first.abs_diff(second) as f64 / second as f64;
        assert!(difference < 0.01, "{first} and {second} kHz");
    }
}
