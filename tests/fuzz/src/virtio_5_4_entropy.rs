//! The entropy device (virtio 1.2, section 5.4).

use monitor::virtio::rng::Rng;

use crate::driver;
use crate::machine::Machine;

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let machine = Machine::new(Box::<Rng>::default());
    driver::drive(machine, &[8], data, &mut |_| {});
}
