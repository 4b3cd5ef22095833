//! Guests that try every address and every port there is.

use monitor::virtio::Slot;
use vmm_api::StopReason;

use crate::cases::{Case, ends_with, survives};
use crate::driver::Device;
use crate::machine::MEMORY_MIB;
use crate::program::Op;
use crate::script::{EXIT_PORT, SERIAL, Script};

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("writes_where_nothing_is", writes_where_nothing_is),
    ("reads_where_nothing_is", reads_where_nothing_is),
    ("copies_of_what_is_not_there", copies_of_what_is_not_there),
    ("every_port_is_read", every_port_is_read),
    ("every_port_but_two_is_written", every_port_but_two_is_written),
    ("a_page_to_a_port_at_once", a_page_to_a_port_at_once),
    ("commands_to_the_keyboard_controller", commands_to_the_keyboard_controller),
    ("execution_of_registers", execution_of_registers),
    ("execution_of_nothing", execution_of_nothing),
    ("a_jump_out_of_every_address", a_jump_out_of_every_address),
    ("an_exit_of_many_bytes", an_exit_of_many_bytes),
];

/// The end of RAM, the gap, around the devices, behind the last address that
/// is RAM's; 64 GiB is nothing at all.
fn nowhere() -> [u64; 7] {
    let devices = Device::Rng.registers();
    [
        MEMORY_MIB << 20,
        1 << 30,
        devices - 64,
        devices + Slot::TOTAL,
        0xe000_0000,
        4 << 30,
        64 << 30,
    ]
}

const WRITES: [Op; 5] = [
    Op::Write8,
    Op::Write16,
    Op::Write32,
    Op::Write64,
    Op::Write128,
];

fn writes_where_nothing_is() -> anyhow::Result<()> {
    survives(|script| {
        for address in nowhere() {
            for op in WRITES {
                script.repeat(16, |script| {
                    script.step(op, address, u64::MAX, 0).advance(3);
                });
            }
            script.step(Op::Exchange, address, 1, 0);
        }
        // A page in 16 MiB of the whole gap.
        script.repeat(255, |script| {
            script.step(Op::Write32, 3 << 30, 1, 0).advance(4 << 20);
        });
    })
}

fn reads_where_nothing_is() -> anyhow::Result<()> {
    survives(|script| {
        for address in nowhere() {
            for op in [Op::Read8, Op::Read16, Op::Read32, Op::Read64] {
                script.repeat(16, |script| {
                    script.step(op, address, 0, 0).advance(3);
                });
            }
        }
        script.repeat(1024, |script| {
            script.step(Op::Read64, 3 << 30, 0, 0).advance(1 << 20);
        });
    })
}

/// Between RAM and what is none, over their border.
fn copies_of_what_is_not_there() -> anyhow::Result<()> {
    survives(|script| {
        let end = MEMORY_MIB << 20;
        script.step(Op::Copy, end - 8, 0x20_0000, 64);
        script.step(Op::Copy, 0x180_0000, end - 8, 64);
        script.step(Op::Copy, Device::Rng.registers(), 0x180_0000, 512);
        script.step(Op::Copy, 0x180_0000, Device::Rng.registers(), 512);
        script.step(Op::Copy, 0xe000_0000, 1 << 30, 256);
    })
}

fn every_port_is_read() -> anyhow::Result<()> {
    survives(|script| {
        for (op, by) in [(Op::In8, 1), (Op::In16, 5), (Op::In32, 5)] {
            script.repeat(0x1_0000 / by, |script| {
                script.step(op, 0, 0, 0).advance(by);
            });
        }
    })
}

/// The two are those that end the machine.
fn every_port_but_two_is_written() -> anyhow::Result<()> {
    const KEYBOARD: u64 = 0x64;
    survives(|script| {
        let exit = u64::from(EXIT_PORT);
        for (op, width, by) in [(Op::Out8, 1, 1), (Op::Out16, 2, 5), (Op::Out32, 4, 5)] {
            for (first, end) in [
                (0, KEYBOARD + 1 - width),
                (KEYBOARD + 1, exit + 1 - width),
                (exit + 1, 0x1_0000),
            ] {
                // An access from a port before one of the two may reach it.
                script.repeat((end - first) / by, |script| {
                    script.step(op, first, 0xfe, 0).advance(by);
                });
            }
        }
        // The serial port is to say something again: not its divisor, not to
        // itself.
        for (offset, value) in [(3, 3), (4, 0), (1, 0)] {
            script.step(Op::Out8, u64::from(SERIAL) + offset, value, 0);
        }
    })
}

fn a_page_to_a_port_at_once() -> anyhow::Result<()> {
    survives(|script| {
        for port in [SERIAL.into(), 0x80, 0xcf8] {
            script.step(Op::OutMany, port, 0x20_0000, 16 << 10);
        }
    })
}

/// All but the one that resets the machine.
fn commands_to_the_keyboard_controller() -> anyhow::Result<()> {
    survives(|script| {
        script.repeat(0xfe, |script| {
            script.step(Op::Out8, 0x64, 0, 0).vary(1);
        });
        script.step(Op::Out8, 0x64, 0xff, 0);
    })
}

/// A fault without a handler for it, or an instruction that the hypervisor
/// cannot carry out.
fn is_lost(reason: &StopReason) -> bool {
    match reason {
        StopReason::TripleFault => true,
        StopReason::Failed { what } => what.starts_with("run the guest"),
        _ => false,
    }
}

fn execution_of_registers() -> anyhow::Result<()> {
    ends_with(|script| jump(script, Device::Rng.registers()), is_lost)
}

fn execution_of_nothing() -> anyhow::Result<()> {
    ends_with(|script| jump(script, 0xe000_0000), is_lost)
}

fn a_jump_out_of_every_address() -> anyhow::Result<()> {
    ends_with(|script| jump(script, 1 << 46), is_lost)
}

fn jump(script: &mut Script, address: u64) {
    script.step(Op::Jump, address, 0, 0);
}

/// The first counts.
fn an_exit_of_many_bytes() -> anyhow::Result<()> {
    ends_with(
        |script| {
            script.step(Op::Write8, 0x180_0000, 7, 0);
            script.step(Op::OutMany, EXIT_PORT.into(), 0x180_0000, 4096);
        },
        |reason| *reason == StopReason::Exited { status: 7 },
    )
}
