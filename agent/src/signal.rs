//! Signals by number, the real-time ones included.

use rustix::fd::BorrowedFd;
use rustix::process::{Pid, kill_process, pidfd_send_signal};

use crate::error::AgentError;

/// Numbers of signals (signal(7)); 32 and 33 are the C library's own.
const NUMBERS: std::ops::RangeInclusive<i32> = 1..=64;

/// A signal that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal(rustix::process::Signal);

impl Signal {
    pub(crate) const KILL: Self = Self(rustix::process::Signal::KILL);

    /// The signal of `number`.
    pub(crate) fn new(number: u32) -> Result<Self, AgentError> {
        let known = i32::try_from(number)
            .ok()
            .filter(|number| NUMBERS.contains(number));
        known
            .map(from_number)
            .map(Self)
            .ok_or_else(|| AgentError::Invalid {
                what: "not a signal",
                value: number.to_string(),
            })
    }

    pub(crate) fn is_kill(self) -> bool {
        self == Self::KILL
    }

    /// Sends it to the process behind `handle`.
    pub(crate) fn send(self, handle: BorrowedFd<'_>) -> rustix::io::Result<()> {
        pidfd_send_signal(handle, self.0)
    }

    /// Sends it to the process of number `pid`, if there is one.
    pub(crate) fn send_to(self, pid: u32) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended since it was listed.
            let _ = kill_process(pid, self.0);
        }
    }
}

#[allow(
    unsafe_code,
    reason = "the safe constructor knows no real-time signals"
)]
fn from_number(number: i32) -> rustix::process::Signal {
    // SAFETY: the number is one the kernel knows; this process handles none of
    // the C library's signals when it sends one.
    unsafe { rustix::process::Signal::from_raw_unchecked(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_signals_are_signals() {
        assert!(Signal::new(9).unwrap().is_kill());
        assert!(Signal::new(37).is_ok());
        assert!(Signal::new(0).is_err());
        assert!(Signal::new(65).is_err());
        assert!(Signal::new(u32::MAX).is_err());
    }
}
