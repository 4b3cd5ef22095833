//! Guests that want more memory than they are to have (virtio 1.2, section
//! 5.15).

use anyhow::ensure;
use monitor::virtio::mem::BLOCK;
use monitor::virtio::register;
use vmm_api::{Answer, Request};

use crate::cases::{Case, survives_beside};
use crate::driver::{self, BUFFER, Device, NEXT, Queue, WRITE};
use crate::machine::{LATE_MIB, MEMORY_MIB, Machine};
use crate::program::Op;
use crate::script::Script;

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("memory_that_nobody_wants_it_to_have", memory_that_nobody_wants_it_to_have),
    ("more_memory_than_it_is_to_have", more_memory_than_it_is_to_have),
    ("devices_in_memory_that_is_gone", devices_in_memory_that_is_gone),
];

/// Where memory comes: behind 4 GiB, at a multiple of 2 GiB.
const START: u64 = 6 << 30;
const BLOCKS: u64 = (LATE_MIB << 20) / BLOCK;

// Types of requests, and of answers (section 5.15.6).
const PLUG: u64 = 0;
const UNPLUG: u64 = 1;
const UNPLUG_ALL: u64 = 2;
const STATE: u64 = 3;
const ACK: u64 = 0;
const NACK: u64 = 1;
const ERROR: u64 = 3;

/// Statuses of a guest that is answered otherwise, and of one that finds
/// otherwise what is in its memory.
const NOT_ANSWERED: u64 = 80;
const OTHER_ANSWER: u64 = 81;
const NOT_TOLD: u64 = 82;
const OTHER_CONTENT: u64 = 83;

/// A driver that asks.
struct Asking<'s> {
    script: &'s mut Script,
    asked: u16,
}

impl<'s> Asking<'s> {
    /// Brings the device up; its only chain is a request with its answer.
    fn start(script: &'s mut Script) -> Self {
        let queue = Queue::right(5);
        for word in 0..16 {
            script.step(Op::Write64, queue.used + 8 * word, 0, 0);
            script.step(Op::Write64, queue.available + 8 * word, 0, 0);
        }
        driver::describe(script, queue.table, 0, (BUFFER, 24, NEXT, 1));
        driver::describe(script, queue.table, 1, (BUFFER + 64, 10, WRITE, 0));
        driver::bring_up(script, Device::Mem, &[queue]);
        Self { script, asked: 0 }
    }

    /// Asks, and expects that answer.
    fn ask(&mut self, kind: u64, address: u64, count: u64, answer: u64) -> &mut Self {
        let queue = Queue::right(5);
        self.asked += 1;
        for (offset, value) in [(0, kind), (8, address), (16, count), (64, u64::MAX)] {
            self.script.step(Op::Write64, BUFFER + offset, value, 0);
        }
        let asked = u64::from(self.asked);
        self.script.step(Op::Write16, queue.available + 2, asked, 0);
        driver::notify(self.script, Device::Mem, 0);
        self.script
            .step(Op::Wait16, queue.used + 2, asked, NOT_ANSWERED)
            .step(Op::Expect32, BUFFER + 64, answer, OTHER_ANSWER);
        self
    }

    fn block(&mut self, kind: u64, block: u64, answer: u64) -> &mut Self {
        self.ask(kind, START + block * BLOCK, 1, answer)
    }

    /// Reads and writes in blocks that are nowhere.
    fn touch(&mut self, blocks: std::ops::Range<u64>) {
        for block in blocks {
            let address = START + block * BLOCK;
            for offset in [0, 8, BLOCK / 2, BLOCK - 8] {
                self.script
                    .step(Op::Write64, address + offset, u64::MAX, 0)
                    .step(Op::Read64, address + offset, 0, 0)
                    .step(Op::Exchange, address + offset, 1, 0);
            }
            self.script.step(Op::Copy, address, BUFFER, 256);
            self.script.step(Op::Copy, BUFFER + 0x1000, address, 256);
        }
    }

    /// Whatever makes no sense; blocks 0 and 1 are plugged, or not.
    fn nonsense(&mut self) {
        let last = START + (BLOCKS - 1) * BLOCK;
        for kind in [PLUG, UNPLUG, STATE] {
            for (address, count) in [
                (START, 0),
                (START, BLOCKS + 1),
                (START, 0xffff),
                (START + 1, 1),
                (START + 4096, 1),
                (START - BLOCK, 1),
                (last, 2),
                (last + BLOCK, 1),
                (0, 1),
                (0x10_0000, 1),
                (u64::MAX, 0xffff),
                (u64::MAX - BLOCK + 1, 1),
            ] {
                self.ask(kind, address, count, ERROR);
            }
        }
        for kind in [4, 5, 0xffff] {
            self.block(kind, 0, ERROR);
        }
    }
}

/// The shim wants the machine to have so many blocks once the guest is there.
fn want(machine: &mut Machine, blocks: u64) -> anyhow::Result<()> {
    machine.says("\nready\n")?;
    let memory_mib = MEMORY_MIB + ((blocks * BLOCK) >> 20);
    let answer = machine.request(&Request::ResizeMemory { memory_mib })?;
    ensure!(answer == Answer::Done, "{answer:?}");
    Ok(())
}

/// The guest says that its driver is there, and waits until it is told of two
/// blocks.
fn wait_for_two(script: &mut Script) {
    let requested = Device::Mem.registers() + register::CONFIG + 48;
    let upper_half = (2 * BLOCK) >> 16;
    script.say("\nready\n");
    // A lab is slow, and one wait short.
    script.repeat(20, |script| {
        script.step(Op::Read16, requested + 2, 0, 0);
        script.repeat(10_000, |script| {
            script.step(Op::Read16, requested + 2, 0, 0);
        });
    });
    script.step(Op::Wait16, requested + 2, upper_half, NOT_TOLD);
}

fn memory_that_nobody_wants_it_to_have() -> anyhow::Result<()> {
    let stats = survives_beside(
        |script| {
            let mut driver = Asking::start(script);
            driver.nonsense();
            driver.ask(PLUG, START, BLOCKS, NACK);
            for block in 0..BLOCKS {
                driver.block(PLUG, block, NACK).block(UNPLUG, block, ERROR);
            }
            driver.ask(UNPLUG_ALL, 0, 0, ACK).touch(0..BLOCKS);
        },
        |_| Ok(()),
    )?;
    ensure!(stats.memory_mib == MEMORY_MIB, "{stats:?}");
    Ok(())
}

fn more_memory_than_it_is_to_have() -> anyhow::Result<()> {
    let stats = survives_beside(
        |script| {
            let mut driver = Asking::start(script);
            wait_for_two(driver.script);
            driver.ask(PLUG, START, 3, NACK).ask(PLUG, START, 2, ACK);
            driver.nonsense();
            for block in 0..2 {
                driver.block(PLUG, block, ERROR);
            }
            for block in 2..BLOCKS {
                driver.block(PLUG, block, NACK).block(UNPLUG, block, ERROR);
            }
            driver.ask(PLUG, START + BLOCK, 2, ERROR);
            driver.ask(UNPLUG, START + BLOCK, 2, ERROR);
            driver.touch(0..BLOCKS);
            // Memory is what it was written.
            let place = START + BLOCK + 0x5000;
            driver.script.step(Op::Write64, place, 0x1234_5678, 0);
            let same = |script: &mut Script, value| {
                script.step(Op::Expect32, place, value, OTHER_CONTENT);
            };
            same(driver.script, 0x1234_5678);
            driver.block(UNPLUG, 1, ACK).block(UNPLUG, 1, ERROR);
            driver.touch(1..2);
            driver.block(PLUG, 1, ACK);
            same(driver.script, 0);
            driver.block(UNPLUG, 0, ACK).touch(0..1);
        },
        |machine| want(machine, 2),
    )?;
    // One block was left.
    ensure!(stats.memory_mib == MEMORY_MIB + (BLOCK >> 20), "{stats:?}");
    Ok(())
}

/// Rings and buffers of a device lie where there was memory, and it works on.
fn devices_in_memory_that_is_gone() -> anyhow::Result<()> {
    let stats = survives_beside(
        |script| {
            let mut driver = Asking::start(script);
            wait_for_two(driver.script);
            driver.ask(PLUG, START, 2, ACK);
            let queue = Queue {
                size: 8,
                table: START,
                available: START + 0x1000,
                used: START + 0x2000,
            };
            let script = &mut *driver.script;
            for index in 0..8 {
                let buffer = START + BLOCK + 0x1000 * index;
                driver::describe(script, queue.table, index, (buffer, 256, WRITE, 0));
            }
            driver::bring_up(script, Device::Rng, &[queue]);
            driver::announce(script, queue, &[0, 1, 2, 3], 4);
            driver::notify(script, Device::Rng, 0);
            script.step(Op::Wait16, queue.used + 2, 4, NOT_ANSWERED);
            driver.ask(UNPLUG_ALL, 0, 0, ACK);
            driver.script.repeat(200, |script| {
                driver::notify(script, Device::Rng, 0);
            });
            driver.touch(0..2);
            // Gone and here again beneath it.
            for _ in 0..20 {
                driver.block(PLUG, 0, ACK);
                driver::notify(driver.script, Device::Rng, 0);
                driver.block(UNPLUG, 0, ACK);
            }
        },
        |machine| want(machine, 2),
    )?;
    ensure!(stats.memory_mib == MEMORY_MIB, "{stats:?}");
    Ok(())
}
