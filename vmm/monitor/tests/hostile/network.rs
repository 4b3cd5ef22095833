//! Guests that break the queues of an interface, whoever serves them: the VMM, or
//! the host's kernel.

use monitor::virtio::{register, status};

use crate::cases::{Case, survives};
use crate::driver::{self, AGREED, BUFFER, Device, NEXT, NOT_READY, NOT_SERVED, Queue, WRITE};
use crate::program::Op;
use crate::script::Script;

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("a_broken_interface_works_after_a_reset", a_broken_interface_works_after_a_reset),
    ("a_broken_queue_to_receive_into", a_broken_queue_to_receive_into),
    ("rings_where_memory_is_not_yet", rings_where_memory_is_not_yet),
    ("a_storm_of_resets_under_traffic", a_storm_of_resets_under_traffic),
];

const INTERFACES: [Device; 2] = [Device::Net, Device::VhostNet];
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;

/// The longest packet, with its header (virtio 1.2, section 5.1.6.3.1).
const LONGEST: u32 = 1526 + 12;
/// A packet of zeros is one: only its type is strange.
const PACKET: u32 = 12 + 60;

fn queues(script: &mut Script) -> [Queue; 2] {
    let queues = [Queue::right(RECEIVE), Queue::right(TRANSMIT)];
    for queue in queues {
        for start in [queue.table, queue.available, queue.used] {
            script.repeat(32, |script| {
                script.step(Op::Write64, start, 0, 0).advance(8);
            });
        }
    }
    queues
}

/// The driver is told that it has to reset the device.
fn breaks(script: &mut Script, device: Device) {
    let broken = AGREED | status::DRIVER_OK | status::NEEDS_RESET;
    let status = device.registers() + register::STATUS;
    script.step(Op::Wait16, status, broken.into(), NOT_READY);
}

/// Packets go, and come: the host sends some all the time.
fn works(script: &mut Script, device: Device) {
    let [receive, transmit] = queues(script);
    driver::bring_up(script, device, &[receive, transmit]);
    driver::describe(script, transmit.table, 0, (BUFFER, PACKET, 0, 0));
    driver::announce(script, transmit, &[0], 1);
    driver::notify(script, device, TRANSMIT);
    script.step(Op::Wait16, transmit.used + 2, 1, NOT_SERVED);
    driver::describe(script, receive.table, 0, (BUFFER, LONGEST, WRITE, 0));
    driver::announce(script, receive, &[0], 1);
    driver::notify(script, device, RECEIVE);
    script.step(Op::Wait16, receive.used + 2, 1, NOT_SERVED);
}

fn a_broken_interface_works_after_a_reset() -> anyhow::Result<()> {
    survives(|script| {
        for device in INTERFACES {
            works(script, device);
            for _ in 0..3 {
                let [receive, transmit] = queues(script);
                driver::bring_up(script, device, &[receive, transmit]);
                // More than it has entries.
                driver::announce(script, transmit, &[0], 9);
                driver::notify(script, device, TRANSMIT);
                breaks(script, device);
                works(script, device);
            }
        }
    })
}

fn a_broken_queue_to_receive_into() -> anyhow::Result<()> {
    survives(|script| {
        for device in INTERFACES {
            let [receive, transmit] = queues(script);
            driver::bring_up(script, device, &[receive, transmit]);
            driver::announce(script, receive, &[0], 9);
            driver::notify(script, device, RECEIVE);
            breaks(script, device);
            works(script, device);
        }
    })
}

/// The VMM has it, and so has the kernel; the guest has not.
fn rings_where_memory_is_not_yet() -> anyhow::Result<()> {
    const LATE: u64 = 6 << 30;
    survives(|script| {
        for device in INTERFACES {
            let late = |number: u32| Queue {
                size: 8,
                table: LATE + 0x10_0000 * u64::from(number),
                available: LATE + 0x10_0000 * u64::from(number) + 0x1000,
                used: LATE + 0x10_0000 * u64::from(number) + 0x2000,
            };
            driver::bring_up(script, device, &[late(RECEIVE), late(TRANSMIT)]);
            driver::notify(script, device, RECEIVE);
            driver::notify(script, device, TRANSMIT);
            works(script, device);
        }
    })
}

/// While packets come, and buffers are on their way.
fn a_storm_of_resets_under_traffic() -> anyhow::Result<()> {
    survives(|script| {
        for device in INTERFACES {
            let [receive, transmit] = queues(script);
            for index in 0..8 {
                driver::describe(script, receive.table, index, (BUFFER, LONGEST, WRITE, 0));
                let next = u16::try_from(index + 1).unwrap_or(0) % 8;
                driver::describe(script, transmit.table, index, (BUFFER, 40, NEXT, next));
            }
            driver::describe(script, transmit.table, 7, (BUFFER, 40, 0, 0));
            script.repeat(300, |script| {
                driver::bring_up(script, device, &[receive, transmit]);
                driver::announce(script, receive, &[0, 1, 2, 3, 4, 5, 6, 7], 8);
                driver::announce(script, transmit, &[0, 1, 2, 3, 4, 5, 6, 7], 8);
                driver::notify(script, device, RECEIVE);
                driver::notify(script, device, TRANSMIT);
            });
            works(script, device);
        }
    })
}
