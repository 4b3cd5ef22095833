//! The balloon (virtio 1.2, section 5.5).

use monitor::virtio::balloon::Balloon;

use crate::driver;
use crate::machine::Machine;

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let machine = Machine::new(Box::<Balloon>::default());
    driver::drive(machine, &[128; 3], data, &mut |_| {});
}
