//! Warnings that a guest can cause, to standard error. It can cause as many as
//! it likes, so they are counted and only some are written.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Warnings written in a row before the rate applies.
const BURST: u32 = 10;
/// Time after which one more may be written.
const REFILL: Duration = Duration::from_secs(10);

/// Who may write when.
struct Limit {
    tokens: u32,
    refilled: Option<Instant>,
    suppressed: u64,
}

impl Limit {
    const fn new() -> Self {
        Self {
            tokens: BURST,
            refilled: None,
            suppressed: 0,
        }
    }

    /// Whether a warning may be written, and how many were not before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let refilled = *self.refilled.get_or_insert(now);
        if now.saturating_duration_since(refilled) >= REFILL {
            self.tokens = BURST.min(self.tokens.saturating_add(1));
            self.refilled = Some(now);
        }
        if self.tokens == 0 {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

static LIMIT: Mutex<Limit> = Mutex::new(Limit::new());

/// Writes that the guest's `what`, unless there were too many lately.
pub fn write(what: fmt::Arguments<'_>) {
    let mut limit = LIMIT.lock().unwrap_or_else(PoisonError::into_inner);
    match limit.admit(Instant::now()) {
        None => {}
        Some(0) => eprintln!("the guest's {what}"),
        Some(suppressed) => eprintln!("the guest's {what} (and {suppressed} more like it)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_burst_and_then_a_trickle_that_tells_what_is_missing() {
        let mut limit = Limit::new();
        let start = Instant::now();
        let written = (0..1000).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(limit.admit(start + REFILL), Some(990));
        assert_eq!(limit.admit(start + REFILL), None);
    }
}
