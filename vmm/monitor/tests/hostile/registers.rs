//! Guests that do what they like with registers.

use monitor::virtio::{Slot, register, status};

use crate::cases::{Case, survives};
use crate::driver::{self, Device, Queue};
use crate::program::Op;
use crate::script::Script;

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("writes_of_every_width_to_every_register", writes_of_every_width_to_every_register),
    ("reads_of_every_width_of_every_register", reads_of_every_width_of_every_register),
    ("a_locked_exchange_with_registers", a_locked_exchange_with_registers),
    ("every_status_over_every_other", every_status_over_every_other),
    ("a_storm_of_starts_and_resets", a_storm_of_starts_and_resets),
    ("a_start_without_queues", a_start_without_queues),
    ("sizes_that_no_queue_has", sizes_that_no_queue_has),
    ("rings_outside_of_memory", rings_outside_of_memory),
    ("rings_in_the_registers", rings_in_the_registers),
    ("queues_that_are_not_there", queues_that_are_not_there),
    ("features_that_nobody_offered", features_that_nobody_offered),
    ("a_storm_of_kicks", a_storm_of_kicks),
    ("a_storm_of_acknowledgements", a_storm_of_acknowledgements),
];

/// First address of all devices, with a device or without.
fn slots() -> u64 {
    Slot::all().next().map_or(0, Slot::address)
}

/// Everything but what the guest exits by is a word, read or written.
fn sweep(script: &mut Script, op: Op, first: u64, by: u64, count: u64, value: u64) {
    script.repeat(count, |script| {
        script.step(op, first, value, 0).advance(by);
    });
}

fn writes_of_every_width_to_every_register() -> anyhow::Result<()> {
    survives(|script| {
        for (op, width) in [
            (Op::Write8, 1),
            (Op::Write16, 2),
            (Op::Write32, 4),
            (Op::Write64, 8),
            (Op::Write128, 16),
        ] {
            for value in [0, u64::MAX] {
                sweep(
                    script,
                    op,
                    Device::Rng.registers(),
                    width,
                    1536 / width,
                    value,
                );
            }
        }
        // Not aligned, into slots without a device, and beyond the last.
        sweep(script, Op::Write32, slots() + 1, 509, 32, 15);
        sweep(script, Op::Write64, slots() + Slot::TOTAL - 4, 1, 8, 7);
    })
}

fn reads_of_every_width_of_every_register() -> anyhow::Result<()> {
    survives(|script| {
        for (op, width) in [
            (Op::Read8, 1),
            (Op::Read16, 2),
            (Op::Read32, 4),
            (Op::Read64, 8),
        ] {
            sweep(script, op, slots(), width, Slot::TOTAL / width, 0);
        }
        sweep(script, Op::Read64, slots() + Slot::TOTAL - 7, 1, 16, 0);
    })
}

/// The instruction reads and writes at once, in memory that is read-only.
fn a_locked_exchange_with_registers() -> anyhow::Result<()> {
    survives(|script| {
        let registers = Device::Balloon.registers();
        for offset in [register::STATUS, register::MAGIC_VALUE, register::QUEUE_NUM] {
            script.step(Op::Exchange, registers + offset, 15, 0);
        }
    })
}

fn every_status_over_every_other() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            let register = device.registers() + register::STATUS;
            // Twice 256, by a step that goes through all of them.
            script.repeat(512, |script| {
                script.step(Op::Write32, register, 0, 0).vary(37);
                script.step(Op::Write32, register, 15, 0).vary(1);
            });
            sweep(script, Op::Write32, register, 0, 64, u64::MAX);
        }
    })
}

fn a_storm_of_starts_and_resets() -> anyhow::Result<()> {
    survives(|script| {
        script.repeat(300, |script| {
            for device in Device::ALL {
                let queues: Vec<_> = (0..device.queues()).map(Queue::right).collect();
                driver::bring_up(script, device, &queues);
                driver::notify(script, device, 0);
            }
        });
    })
}

fn a_start_without_queues() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            driver::bring_up(script, device, &[]);
            for queue in 0..4 {
                driver::notify(script, device, queue);
            }
        }
    })
}

/// A device that cannot start says so, and goes on after a reset.
fn refuses(script: &mut Script, device: Device, queue: Queue) {
    driver::bring_up(script, device, &[queue]);
    let refused = 11 | status::NEEDS_RESET;
    script.step(
        Op::Expect32,
        device.registers() + register::STATUS,
        refused.into(),
        driver::NOT_READY,
    );
    driver::notify(script, device, 0);
}

fn sizes_that_no_queue_has() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            for size in [0, 3, 5, 1 << 10, 1 << 15, 1 << 16, u32::MAX] {
                let right = Queue::right(0);
                refuses(script, device, Queue { size, ..right });
            }
        }
    })
}

fn rings_outside_of_memory() -> anyhow::Result<()> {
    let right = Queue::right(0);
    survives(|script| {
        for device in Device::ALL {
            for address in [
                64 << 20,
                (64 << 20) - 16,
                3 << 30,
                4 << 30,
                u64::MAX - 15,
                1 << 63,
                0x100_0001,
            ] {
                for queue in [
                    Queue {
                        table: address,
                        ..right
                    },
                    Queue {
                        available: address,
                        ..right
                    },
                    Queue {
                        used: address,
                        ..right
                    },
                ] {
                    // The last 16 bytes hold a ring of no entries, and half of
                    // one of eight.
                    refuses(script, device, queue);
                }
            }
        }
    })
}

fn rings_in_the_registers() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            let registers = device.registers();
            refuses(
                script,
                device,
                Queue {
                    size: 8,
                    table: registers,
                    available: registers,
                    used: registers,
                },
            );
        }
    })
}

fn queues_that_are_not_there() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            driver::reset(script, device);
            let registers = device.registers();
            for number in [device.queues(), 255, 1 << 16, u32::MAX] {
                script.write32(registers + register::QUEUE_SEL, number);
                let most = registers + register::QUEUE_NUM_MAX;
                script.step(Op::Expect32, most, 0, driver::NOT_READY);
                script.write32(registers + register::QUEUE_NUM, 8);
                script.write32(registers + register::QUEUE_READY, 1);
                let ready = registers + register::QUEUE_READY;
                script.step(Op::Expect32, ready, 0, driver::NOT_READY);
                driver::notify(script, device, number);
            }
            script.write32(registers + register::STATUS, 15);
        }
    })
}

fn features_that_nobody_offered() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            let registers = device.registers();
            for half in [0, 1, 2, u32::MAX] {
                driver::reset(script, device);
                script.write32(registers + register::STATUS, 0);
                script.write32(registers + register::STATUS, 3);
                script.write32(registers + register::DEVICE_FEATURES_SEL, half);
                script.write32(registers + register::DRIVER_FEATURES_SEL, half);
                script.write32(registers + register::DRIVER_FEATURES, u32::MAX);
                script.write32(registers + register::STATUS, 11);
                let agreed = registers + register::STATUS;
                script.step(Op::Expect32, agreed, 3, driver::NOT_READY);
            }
        }
    })
}

fn a_storm_of_kicks() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            let queues: Vec<_> = (0..device.queues()).map(Queue::right).collect();
            driver::bring_up(script, device, &queues);
            script.repeat(3000, |script| {
                for queue in 0..device.queues() {
                    driver::notify(script, device, queue);
                }
                // Neither an ioeventfd's width nor a queue's number.
                let notify = device.registers() + register::QUEUE_NOTIFY;
                script.step(Op::Write16, notify, 0, 0);
                script.write32(notify, u32::MAX);
            });
        }
    })
}

fn a_storm_of_acknowledgements() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            let acknowledge = device.registers() + register::INTERRUPT_ACK;
            script.repeat(2000, |script| {
                script.step(Op::Write32, acknowledge, 0, 0).vary(1);
                script.step(Op::Write8, acknowledge, 3, 0);
            });
        }
    })
}
