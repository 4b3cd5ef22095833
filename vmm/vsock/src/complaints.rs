//! Warnings that a guest can cause. It can cause as many as it likes, so they
//! are counted and only some are written.

use crate::ring::chain::BadChain;
use crate::state::connection::Key;
use crate::state::packet::Header;
use crate::state::verdict::Refusal;
use std::io;
use std::time::{Duration, Instant};
use tracing::warn;

/// Warnings written in a row before the rate applies.
const BURST: u32 = 10;

/// Time after which one more may be written.
const REFILL: Duration = Duration::from_secs(10);

/// The warnings of one device.
#[derive(Debug)]
pub struct Complaints {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Default for Complaints {
    fn default() -> Self {
        Self {
            tokens: BURST,
            refilled: Instant::now(),
            suppressed: 0,
        }
    }
}

impl Complaints {
    /// A packet was answered with a reset.
    pub fn about_packet(&mut self, header: &Header, why: Refusal) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            let (from, to, op) = (header.src_port, header.dst_port, header.op);
            warn!(
                from,
                to, op, suppressed, "reset a packet of the guest: {why}"
            );
        }
    }

    /// A buffer could not be used.
    pub fn about_chain(&mut self, why: &BadChain) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            warn!(suppressed, "returned a buffer of the guest unused: {why}");
        }
    }

    /// A connection could not be made for want of something on the host.
    pub fn about_opening(&mut self, key: Key, error: &io::Error) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            let (from, to) = (key.guest_port, key.host_port);
            warn!(
                from,
                to, suppressed, "cannot open a connection of the guest: {error}"
            );
        }
    }

    /// A queue is in a state that no driver leaves it in.
    pub fn about_queue(&mut self, queue: usize, error: &virtio_queue::Error) {
        if let Some(suppressed) = self.admit(Instant::now()) {
            warn!(
                queue,
                suppressed, "cannot serve a queue of the guest: {error}"
            );
        }
    }

    /// Whether a warning may be written, and how many were not before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let since = now.saturating_duration_since(self.refilled);
        if since >= REFILL {
            self.tokens = BURST.min(self.tokens.saturating_add(1));
            self.refilled = now;
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_burst_and_then_a_trickle_that_tells_what_is_missing() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let written = (0..1000)
            .filter(|_| complaints.admit(start).is_some())
            .count();
        assert_eq!(written, 10);
        assert_eq!(complaints.admit(start + REFILL), Some(990));
        assert_eq!(complaints.admit(start + REFILL), None);
        assert_eq!(complaints.admit(start + 3 * REFILL), Some(1));
    }
}
