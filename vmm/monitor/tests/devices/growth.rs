//! Memory that comes to a guest that runs, and goes.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use vmm_api::{Answer, Request};

use crate::disks;
use crate::guest::{GROWTH_LOOKED, LATE, LATE_USED};
use crate::machine::{Devices, MEMORY_MIB, Machine};

const GROWN: u64 = MEMORY_MIB + LATE;

/// Longer than it takes in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn memory_comes_and_goes() -> anyhow::Result<()> {
    let devices = Devices {
        late_mib: LATE,
        ..Devices::default()
    };
    let mut machine = Machine::start("growth", devices)?;
    let first = total(&mut machine)?;
    ensure!(has(&machine)? == MEMORY_MIB);
    for impossible in [MEMORY_MIB - 1, GROWN + 1, u64::MAX] {
        let refused = resize(&machine, impossible).err();
        let why = refused.context("that much is possible")?.to_string();
        ensure!(why.ends_with("this machine can have 256 to 768"), "{why}");
    }
    let before = machine.memory_taken()?;

    // A guest that is paused hears of it when it goes on.
    ensure!(machine.ask(&Request::Pause, &[])? == Answer::Done);
    ensure!(resize(&machine, GROWN)? == Answer::Done);
    ensure!(has(&machine)? == MEMORY_MIB, "a paused guest moves");
    ensure!(machine.ask(&Request::Resume, &[])? == Answer::Done);
    let began = Instant::now();
    let grown = total(&mut machine)?;
    println!(
        "{first} MiB in the guest, {grown} after {:?}",
        began.elapsed()
    );
    ensure!(grown >= first + LATE);
    until(&machine, GROWN)?;

    ensure!(machine.line()? == format!("used {}", LATE_USED / 4096));
    let most = machine.memory_taken()?;
    // A part of it may lie in what a boot has touched, huge pages and all.
    ensure!(
        most - before >= LATE_USED as u64 / 4 * 3,
        "{before} to {most} bytes"
    );
    disks::signal(&machine, GROWTH_LOOKED)?;
    ensure!(machine.line()? == "freed");
    ensure!(resize(&machine, MEMORY_MIB)? == Answer::Done);
    let began = Instant::now();
    let last = total(&mut machine)?;
    until(&machine, MEMORY_MIB)?;
    let taken = machine.memory_taken()?;
    println!(
        "{last} MiB after {:?}; host: {before} bytes, {most} at most, {taken}",
        began.elapsed()
    );
    // What was used of the first memory may still be there.
    ensure!(taken <= MEMORY_MIB << 20 && most - taken > (LATE_USED / 2) as u64);
    ensure!(machine.line()? == "done");
    machine.finish()
}

fn total(machine: &mut Machine) -> anyhow::Result<u64> {
    let line = machine.line()?;
    let total = line.strip_prefix("total ").context(line.clone())?;
    Ok(total.parse()?)
}

fn resize(machine: &Machine, memory_mib: u64) -> anyhow::Result<Answer> {
    machine.ask(&Request::ResizeMemory { memory_mib }, &[])
}

fn has(machine: &Machine) -> anyhow::Result<u64> {
    match machine.ask(&Request::Stats, &[])? {
        Answer::Stats(stats) => Ok(stats.memory_mib),
        other => bail!("{other:?} instead of counts"),
    }
}

/// The guest's total changes with the last block, and the last answer to it
/// comes a little later.
fn until(machine: &Machine, mib: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    while has(machine)? != mib {
        ensure!(began.elapsed() < PATIENCE, "{} MiB", has(machine)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
