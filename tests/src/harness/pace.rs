//! How much longer things may take where everything is emulated twice.

use std::time::Duration;

/// A lab is ten to thirty times slower than a machine, and its bounds are there
/// to end what hangs.
const IN_LAB: u32 = 6;

/// `limit`, or what it comes to in a lab.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    match lab::inside() {
        true => limit * IN_LAB,
        false => limit,
    }
}
