//! The guest's wall clock. Until it is set it is what the machine's clock says,
//! or 1970.

use std::io;

use rustix::time::{ClockId, Timespec, clock_settime};

const NANOSECONDS: u64 = 1_000_000_000;

/// Sets the wall clock to `nanoseconds` since the epoch; 0 leaves it.
pub(super) fn set(nanoseconds: u64) -> io::Result<()> {
    if nanoseconds == 0 {
        return Ok(());
    }
    Ok(clock_settime(ClockId::Realtime, timespec(nanoseconds))?)
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
}
