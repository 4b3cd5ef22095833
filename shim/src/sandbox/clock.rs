//! The guest's wall clock follows the host's: when that is set, when the host wakes
//! from sleep, and now and then, since no two clocks run at one speed
//! (docs/decisions/0039-the-guests-clock-follows.md).
#![allow(unsafe_code, reason = "tokio has no safe way to watch a descriptor")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use protocol::{Code, Failure};
use tokio::io::unix::AsyncFd;

use crate::agent::Agent;

/// Between two looks when nothing happens. A clock that loses 30 us in a second,
/// which is a bad one, has lost 9 ms by then.
const PERIOD: Duration = Duration::from_secs(300);

/// What is left alone, beside what the asking took.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Looks after the clock of `agent`'s guest, as long as there is one.
pub(super) async fn follow(agent: Agent) {
    let mut alarm = match Alarm::new() {
        Ok(alarm) => alarm,
        Err(error) => return tracing::warn!(%error, "the guest's clock follows nobody"),
    };
    loop {
        if let Err(error) = alarm.wait().await {
            return tracing::warn!(%error, "the guest's clock follows nobody any more");
        }
        match correct(&agent).await {
            Err(failure) if failure.code == Code::Unavailable => return,
            Err(failure) => tracing::warn!(error = failure.message, "correct the guest's clock"),
            Ok(()) => {}
        }
    }
}

async fn correct(agent: &Agent) -> Result<(), Failure> {
    let before = now();
    let guest = agent.adjust_clock(0).await?;
    if let Some(by_ns) = correction(before, guest, now()) {
        agent.adjust_clock(by_ns).await?;
        tracing::info!(by_ns, "the guest's clock was corrected");
    }
    Ok(())
}

/// Nanoseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds by which a clock has to be moved that said `guest` between `before`
/// and `after`; `None` where that is not more than can be told.
fn correction(before: u64, guest: u64, after: u64) -> Option<i64> {
    let asking = after.checked_sub(before)?;
    let off = i128::from(before) + i128::from(asking / 2) - i128::from(guest);
    let known = u128::from(asking / 2) + TOLERANCE.as_nanos();
    (off.unsigned_abs() > known).then(|| i64::try_from(off).unwrap_or(i64::MAX))
}

/// Goes off after [`PERIOD`], or when the host's clock makes a jump.
struct Alarm(AsyncFd<Timer>);

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags)?;
        // SAFETY: a `Timer` in an `AsyncFd` is neither replaced nor closed before that
        // is dropped.
        let watched = unsafe { AsyncFd::register(Timer(timer)) };
        let alarm = Self(watched.map_err(io::Error::other)?);
        alarm.set()?;
        Ok(alarm)
    }

    /// Set again before the caller looks at the clocks: no jump is missed.
    async fn wait(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            // A jump of the clock ends it as well (timerfd_create(2), ECANCELED).
            match ready.get_inner().0.wait() {
                Ok(()) => break,
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        self.set()
    }

    fn set(&self) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = TimeSpec::from_duration(at.unwrap_or_default() + PERIOD);
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        Ok(self.0.get_ref().0.set(Expiration::OneShot(at), flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_clock_is_moved_by_what_it_is_surely_off() {
        let (before, after) = (9_000_000 * MS, 9_000_040 * MS);
        let hour = 3_600_000 * MS;
        assert_eq!(
            correction(before, before + 20 * MS - hour, after),
            Some(3_600_000_000_000)
        );
        assert_eq!(
            correction(before, before + 20 * MS + hour, after),
            Some(-3_600_000_000_000)
        );
        assert_eq!(
            correction(before, before + 46 * MS, after),
            Some(-26_000_000)
        );
        // It may have been asked at any time between.
        for said in [before, after, after + 4 * MS] {
            assert_eq!(correction(before, said, after), None);
        }
    }

    #[test]
    fn a_guest_may_say_anything() {
        assert!(correction(0, u64::MAX, 0).is_some());
        assert!(correction(u64::MAX, 0, u64::MAX).is_some());
        // The host's own clock went back meanwhile.
        assert_eq!(correction(2, 0, 1), None);
    }

    #[tokio::test]
    async fn an_alarm_does_not_go_off_by_itself() {
        let mut alarm = Alarm::new().unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), alarm.wait());
        assert!(early.await.is_err());
    }
}
