//! Guests whose queues make no sense.

use crate::cases::{Case, survives};
use crate::driver::{self, BUFFER, Descriptor, Device, INDIRECT, NEXT, Queue, WRITE};
use crate::program::Op;
use crate::script::Script;

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("descriptors_of_garbage", descriptors_of_garbage),
    ("a_loop_of_descriptors", a_loop_of_descriptors),
    ("the_greatest_lengths", the_greatest_lengths),
    ("buffers_outside_of_memory", buffers_outside_of_memory),
    ("buffers_in_the_registers", buffers_in_the_registers),
    ("tables_in_tables", tables_in_tables),
    ("a_table_of_sixty_five_thousand", a_table_of_sixty_five_thousand),
    ("jumps_of_the_available_index", jumps_of_the_available_index),
    ("heads_that_are_no_descriptors", heads_that_are_no_descriptors),
    ("rings_on_top_of_each_other", rings_on_top_of_each_other),
    ("a_queue_that_is_never_empty", a_queue_that_is_never_empty),
    ("everything_goes_into_the_balloon", everything_goes_into_the_balloon),
    ("more_output_than_anybody_reads", more_output_than_anybody_reads),
];

/// Each queue of each device gets these descriptors, all of them as heads.
fn in_every_queue(script: &mut Script, descriptors: &[Descriptor]) {
    for device in Device::ALL {
        let queues: Vec<_> = (0..device.queues()).map(Queue::right).collect();
        for queue in &queues {
            clear(script, *queue);
            for (index, descriptor) in (0..).zip(descriptors) {
                driver::describe(script, queue.table, index, *descriptor);
            }
        }
        driver::bring_up(script, device, &queues);
        let heads: Vec<u16> = (0..8).collect();
        for (number, queue) in (0..).zip(&queues) {
            driver::announce(script, *queue, &heads, 8);
            driver::notify(script, device, number);
            // Whatever it makes of them: it gets its time to do it.
            script.repeat(50, |script| {
                script.step(Op::Out8, 0x80, 0, 0);
            });
        }
    }
}

fn clear(script: &mut Script, queue: Queue) {
    for start in [queue.table, queue.available, queue.used] {
        script.repeat(32, |script| {
            script.step(Op::Write64, start, 0, 0).advance(8);
        });
    }
}

fn descriptors_of_garbage() -> anyhow::Result<()> {
    survives(|script| {
        // A generator of numbers that look like chance (Knuth's multiplier).
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state
        };
        for _ in 0..12 {
            let descriptors: Vec<_> = (0..8)
                .map(|_| {
                    let bytes = next().to_le_bytes();
                    let [a, b, c, d, e, f, g, h] = bytes;
                    let length = u32::from_le_bytes([a, b, c, d]);
                    let (flags, following) =
                        (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
                    (next(), length, flags, following)
                })
                .collect();
            in_every_queue(script, &descriptors);
        }
    })
}

fn a_loop_of_descriptors() -> anyhow::Result<()> {
    survives(|script| {
        for flags in [NEXT, NEXT | WRITE] {
            let circle: Vec<_> = (0..8)
                .map(|index| (BUFFER, 64, flags, (index + 1) % 8))
                .collect();
            in_every_queue(script, &circle);
            let own: Vec<_> = (0..8).map(|index| (BUFFER, 64, flags, index)).collect();
            in_every_queue(script, &own);
        }
    })
}

fn the_greatest_lengths() -> anyhow::Result<()> {
    survives(|script| {
        for flags in [0, WRITE, NEXT, NEXT | WRITE] {
            for length in [u32::MAX, 1 << 31, 64 << 20, 48 << 20] {
                let chain: Vec<_> = (0..8)
                    .map(|next| (BUFFER, length, flags, next + 1))
                    .collect();
                in_every_queue(script, &chain);
            }
        }
    })
}

fn buffers_outside_of_memory() -> anyhow::Result<()> {
    buffers_at(&[
        64 << 20,
        (64 << 20) - 8,
        3 << 30,
        4 << 30,
        1 << 40,
        u64::MAX - 7,
    ])
}

fn buffers_in_the_registers() -> anyhow::Result<()> {
    buffers_at(&[Device::Rng.registers(), 0xfee0_0000, 0xfec0_0000])
}

fn buffers_at(addresses: &[u64]) -> anyhow::Result<()> {
    survives(|script| {
        for address in addresses {
            for flags in [0, WRITE] {
                in_every_queue(script, &[(*address, 4096, flags, 0); 8]);
            }
        }
    })
}

fn tables_in_tables() -> anyhow::Result<()> {
    survives(|script| {
        let table = BUFFER + 0x1000;
        for index in 0..8 {
            driver::describe(script, table, index, (table, 128, INDIRECT | NEXT, 0));
        }
        for length in [0, 16, 17, 128, 1 << 20, u32::MAX] {
            in_every_queue(script, &[(table, length, INDIRECT, 0); 8]);
            in_every_queue(script, &[(table, length, INDIRECT | NEXT | WRITE, 0); 8]);
        }
        // In the registers, and in nothing.
        for address in [Device::Rng.registers(), 1 << 40, u64::MAX] {
            in_every_queue(script, &[(address, 128, INDIRECT, 0); 8]);
        }
    })
}

/// Empty entries, so that none counts as much.
fn a_table_of_sixty_five_thousand() -> anyhow::Result<()> {
    survives(|script| {
        let table = BUFFER + 0x10_0000;
        // Each leads to itself.
        driver::describe(script, table, 0, (BUFFER, 0, NEXT, 0));
        in_every_queue(script, &[(table, 16 * 65535, INDIRECT, 0); 8]);
    })
}

fn jumps_of_the_available_index() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            for index in [9, 1000, 0x7fff, 0xffff] {
                let queues: Vec<_> = (0..device.queues()).map(Queue::right).collect();
                queues.iter().for_each(|queue| clear(script, *queue));
                driver::bring_up(script, device, &queues);
                for (number, queue) in (0..).zip(&queues) {
                    driver::announce(script, *queue, &[0, 1, 2], index);
                    driver::notify(script, device, number);
                    driver::announce(script, *queue, &[0, 1, 2], index / 2);
                    driver::notify(script, device, number);
                }
            }
        }
    })
}

fn heads_that_are_no_descriptors() -> anyhow::Result<()> {
    survives(|script| {
        for device in Device::ALL {
            let queues: Vec<_> = (0..device.queues()).map(Queue::right).collect();
            queues.iter().for_each(|queue| clear(script, *queue));
            driver::bring_up(script, device, &queues);
            for (number, queue) in (0..).zip(&queues) {
                driver::announce(script, *queue, &[8, 0xffff, 0x8000, 256], 4);
                driver::notify(script, device, number);
            }
        }
    })
}

/// Whatever the device gives back is a descriptor, or an index, too.
fn rings_on_top_of_each_other() -> anyhow::Result<()> {
    survives(|script| {
        let base = Queue::right(0).table;
        for device in Device::ALL {
            let same = Queue {
                size: 8,
                table: base,
                available: base,
                used: base,
            };
            let queues = vec![same; usize::try_from(device.queues()).unwrap_or(1)];
            driver::describe(script, base, 0, (base, 64, WRITE, 1));
            driver::describe(script, base, 1, (base + 4, 64, WRITE | NEXT, 0));
            driver::bring_up(script, device, &queues);
            script.repeat(50, |script| {
                for number in 0..device.queues() {
                    driver::notify(script, device, number);
                }
                script.step(Op::Add, base, 1, 0);
            });
        }
    })
}

/// As fast as it can: the device is kept busy, the machine is not.
fn a_queue_that_is_never_empty() -> anyhow::Result<()> {
    survives(|script| {
        let queue = Queue::right(0);
        clear(script, queue);
        driver::bring_up(script, Device::Rng, &[queue]);
        driver::describe(script, queue.table, 0, (BUFFER, 256, WRITE, 0));
        script.repeat(4000, |script| {
            script.step(Op::Add, queue.available + 2, 1, 0);
            driver::notify(script, Device::Rng, 0);
        });
    })
}

/// What the guest stands on, page by page: it finds zeros there.
fn everything_goes_into_the_balloon() -> anyhow::Result<()> {
    survives(|script| {
        // All but the first 4 MiB, which are its program.
        let (list, queue) = (BUFFER, Queue::right(0));
        let queues = [Queue::right(0), Queue::right(1), Queue::right(2)];
        queues.iter().for_each(|queue| clear(script, *queue));
        for (index, page) in (0..).zip((0x2000_u64..0x4000).step_by(64)) {
            script.step(Op::Write32, list + 4 * index, page, 0);
        }
        // Pages that are none.
        script.step(Op::Write32, list, u64::MAX, 0);
        script.step(Op::Write32, list + 4, 0xd_0000, 0);
        driver::bring_up(script, Device::Balloon, &queues);
        for index in 0..8 {
            driver::describe(script, queue.table, index, (list, 4096, 0, 0));
        }
        let reported = (0x200_0000, 32 << 20, WRITE, 0);
        driver::describe(script, queues[2].table, 0, reported);
        driver::announce(script, queue, &[0, 1, 2, 3, 4, 5, 6, 7], 8);
        driver::announce(script, queues[2], &[0], 1);
        driver::notify(script, Device::Balloon, 0);
        driver::notify(script, Device::Balloon, 2);
        script.step(Op::Wait16, queue.used + 2, 8, driver::NOT_READY);
        script.step(Op::Wait16, queues[2].used + 2, 1, driver::NOT_READY);
    })
}

fn more_output_than_anybody_reads() -> anyhow::Result<()> {
    survives(|script| {
        let queue = Queue::right(1);
        clear(script, queue);
        driver::describe(script, queue.table, 0, (BUFFER, 60 << 10, 0, 0));
        driver::bring_up(script, Device::Console, &[Queue::right(0), queue]);
        script.repeat(200, |script| {
            script.step(Op::Add, queue.available + 2, 1, 0);
            driver::notify(script, Device::Console, 1);
        });
    })
}
