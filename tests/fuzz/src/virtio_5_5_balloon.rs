//! The balloon (virtio 1.2, section 5.5). Host actions are sizes that it is to
//! have.

use std::sync::Arc;

use monitor::virtio::balloon::Balloon;
use monitor::virtio::target::Target;

use crate::driver;
use crate::machine::Machine;

/// Drives one as `data` says.
pub fn run(data: &[u8]) {
    let target = Target::new().unwrap();
    let device = Balloon::new(Arc::clone(&target));
    driver::drive(
        Machine::new(Box::new(device)),
        &[128; 3],
        data,
        &mut |bytes| {
            target.want(bytes.len() as u64 * 4096);
        },
    );
}
