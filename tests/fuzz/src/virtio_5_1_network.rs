//! The network device (virtio 1.2, section 5.1), on a true tap in a network
//! namespace of its own. Nothing is tried where that cannot be made.

use monitor::virtio::net::Net;

use crate::driver;
use crate::machine::Machine;
use crate::wire::{self, Wire};

thread_local! {
    static WIRE: Option<Wire> = Wire::in_namespace(1);
}

/// Drives one as `data` says. Host actions are packets for the guest.
pub fn run(data: &[u8]) {
    WIRE.with(|wire| {
        let Some(wire) = wire else { return };
        let device = Net::new(&wire::config(1), wire.taps(), Vec::new()).unwrap();
        let machine = Machine::new(Box::new(device));
        driver::drive(machine, &[256; 2], data, &mut |bytes| wire.send(bytes));
        wire.drain();
    });
}
