//! The guest's wall clock. Until it is set it is what the machine's clock says,
//! or 1970. Later it follows the host's, which tells by how much it is off.
#![allow(unsafe_code, reason = "nothing safe has a clock go faster or slower")]

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

const NANOSECONDS: u64 = 1_000_000_000;

/// From here on it is set at once. Below, the kernel makes up for 0.5 ms in each
/// second (adjtimex(2)): programs see no jump, and no time twice.
const STEP: Duration = Duration::from_millis(100);

/// Sets the wall clock to `nanoseconds` since the epoch; 0 leaves it.
pub(super) fn set(nanoseconds: u64) -> io::Result<()> {
    if nanoseconds == 0 {
        return Ok(());
    }
    Ok(clock_settime(ClockId::Realtime, timespec(nanoseconds))?)
}

/// Moves it by `nanoseconds`; what it says then, in nanoseconds since the epoch.
pub(crate) fn adjust(nanoseconds: i64) -> io::Result<u64> {
    let large = u128::from(nanoseconds.unsigned_abs()) >= STEP.as_nanos();
    match nanoseconds {
        0 => {}
        by if large => set(now().saturating_add_signed(by))?,
        by => slew(by / 1000)?,
    }
    Ok(now())
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NANOSECONDS).saturating_add(rest)
}

/// Has the clock be by so many microseconds further, in time.
fn slew(microseconds: i64) -> io::Result<()> {
    // SAFETY: a structure of numbers, for which zeros are values; the kernel reads
    // and writes it alone.
    let result = unsafe {
        let mut change: libc::timex = std::mem::zeroed();
        change.modes = libc::ADJ_OFFSET_SINGLESHOT;
        change.offset = microseconds;
        libc::adjtimex(&raw mut change)
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    // Both fit: u64::MAX nanoseconds are 2^34 seconds.
    Timespec {
        tv_sec: i64::try_from(nanoseconds / NANOSECONDS).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % NANOSECONDS).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_split() {
        let time = timespec(1_700_000_000_000_000_007);
        assert_eq!((time.tv_sec, time.tv_nsec), (1_700_000_000, 7));
    }

    #[test]
    fn what_it_says_can_be_asked() {
        let (before, said) = (now(), adjust(0).unwrap());
        assert!((before..=now()).contains(&said));
    }
}
