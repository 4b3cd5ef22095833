//! How a driver brings a device up (virtio 1.2, sections 2.1 and 3.1.1).

/// Bits of the status register (virtio 1.2, section 2.1).
pub const ACKNOWLEDGE: u32 = 1;
/// The guest has a driver.
pub const DRIVER: u32 = 2;
/// The driver is ready.
pub const DRIVER_OK: u32 = 4;
/// Driver and device agree on features.
pub const FEATURES_OK: u32 = 8;
/// The device cannot go on without a reset.
pub const NEEDS_RESET: u32 = 64;
/// The driver has given up.
pub const FAILED: u32 = 128;

/// What a device does when the driver writes its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Forget everything.
    Reset,
    /// Note that there is a driver.
    Note,
    /// Check the features that the driver wants.
    Agree,
    /// Begin to use the queues.
    Start,
    /// Note that the driver gave up.
    GiveUp,
}

const FOUND: u32 = ACKNOWLEDGE | DRIVER;
const AGREED: u32 = FOUND | FEATURES_OK;
const READY: u32 = AGREED | DRIVER_OK;

/// From a status, by a write, what to do. Drivers set one bit after the other;
/// those of Linux write a status again that they have reached.
const STEPS: [(u32, u32, Step); 9] = [
    (0, ACKNOWLEDGE, Step::Note),
    (0, FOUND, Step::Note),
    (ACKNOWLEDGE, ACKNOWLEDGE, Step::Note),
    (ACKNOWLEDGE, FOUND, Step::Note),
    (FOUND, FOUND, Step::Note),
    (FOUND, AGREED, Step::Agree),
    (AGREED, AGREED, Step::Note),
    (AGREED, READY, Step::Start),
    (READY, READY, Step::Note),
];

/// What follows when a driver writes `wanted` over `status`; nothing when no
/// driver may do so.
#[must_use]
pub fn step(status: u32, wanted: u32) -> Option<Step> {
    if wanted == 0 {
        return Some(Step::Reset);
    }
    // Only a reset leads out of these.
    if status & (FAILED | NEEDS_RESET) != 0 {
        return None;
    }
    if wanted & FAILED != 0 {
        return Some(Step::GiveUp);
    }
    let found = STEPS
        .iter()
        .find(|(from, to, _)| (*from, *to) == (status, wanted));
    found.map(|(_, _, step)| *step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_brings_a_device_up_in_order() {
        assert_eq!(step(0, 1), Some(Step::Note));
        assert_eq!(step(1, 3), Some(Step::Note));
        assert_eq!(step(3, 11), Some(Step::Agree));
        assert_eq!(step(11, 15), Some(Step::Start));
    }

    #[test]
    fn no_step_is_left_out() {
        for (status, wanted) in [(0, 15), (0, 11), (1, 11), (3, 7), (3, 15), (0, 4)] {
            assert_eq!(step(status, wanted), None, "{status} to {wanted}");
        }
    }

    #[test]
    fn no_bit_is_taken_back_but_by_a_reset() {
        for status in [1, 3, 11, 15, 15 | NEEDS_RESET, 3 | FAILED] {
            assert_eq!(step(status, 0), Some(Step::Reset));
        }
        for (status, wanted) in [(3, 1), (11, 3), (15, 11), (15, 7)] {
            assert_eq!(step(status, wanted), None, "{status} to {wanted}");
        }
    }

    #[test]
    fn a_driver_may_give_up_and_then_only_reset() {
        assert_eq!(step(3, 3 | FAILED), Some(Step::GiveUp));
        assert_eq!(step(3 | FAILED, 11), None);
        assert_eq!(step(15 | NEEDS_RESET, 15), None);
    }
}
