#![allow(unsafe_code)] // RDTSC is an intrinsic.

//! The rate of the host's time stamp counter, which the lab sees too and cannot
//! measure on a busy host.

use std::time::{Duration, Instant};

/// Long enough for about 10 ppm.
const WINDOW: Duration = Duration::from_millis(5);

/// Kilohertz.
pub(super) fn khz() -> u64 {
    let (begun, first) = (Instant::now(), ticks());
    std::thread::sleep(WINDOW);
    let (elapsed, last) = (begun.elapsed(), ticks());
    let ticks = u128::from(last.wrapping_sub(first));
    u64::try_from(ticks * 1_000_000 / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
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
        let (first, second) = (khz(), khz());
        assert!(first.abs_diff(second) < second / 100, "{first}, {second}");
    }
}
