//! What the guest frees.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use vmm_api::{Answer, Request};

use crate::disks;
use crate::guest::{LOOKED, SEEN, WASTE};
use crate::machine::{Devices, MEMORY_MIB, Machine};

/// Less than the guest waits. The kernel takes a few seconds, more beside others.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) fn freed_memory_goes_back_to_the_host() -> anyhow::Result<()> {
    let mut machine = Machine::start("memory", Devices::default())?;
    ensure!(machine.line()? == "started");
    let before = machine.memory_taken()?;
    ensure!(machine.line()? == format!("touched {}", WASTE / 4096));
    let most = machine.memory_taken()?;
    // Some of it lies where the kernel has freed what it needed to start. It
    // reports what is free in rounds, a part in each.
    let grown = most.saturating_sub(before);
    ensure!(grown >= WASTE as u64 / 2, "{before} to {most} bytes");
    let enough = most - grown / 3 * 2;
    disks::signal(&machine, LOOKED)?;
    ensure!(machine.line()? == "freed");
    let began = Instant::now();
    let mut taken = machine.memory_taken()?;
    while taken > enough {
        ensure!(began.elapsed() < PATIENCE, "{most} to {taken} bytes");
        std::thread::sleep(Duration::from_millis(50));
        taken = machine.memory_taken()?;
    }
    disks::signal(&machine, SEEN)?;
    println!(
        "{before} bytes, {most} at most, {taken} after {:?}",
        began.elapsed()
    );
    ensure!(machine.line()? == "used again");
    ensure!(machine.line()? == "done");
    machine.finish()
}

const BALLOON_MIB: u64 = 96;

pub(crate) fn a_balloon_takes_memory() -> anyhow::Result<()> {
    let mut machine = Machine::start("balloon", Devices::default())?;
    let most = MEMORY_MIB - 64;
    for impossible in [most + 1, u64::MAX] {
        let refused = resize(&machine, impossible).err();
        let why = refused.context("that much is possible")?.to_string();
        ensure!(why.ends_with("can have up to 192"), "{why}");
    }
    let first = available(&mut machine)?;
    let before = machine.memory_taken()?;
    resize(&machine, BALLOON_MIB)?;
    until(&machine, BALLOON_MIB)?;
    disks::signal(&machine, LOOKED)?;
    let less = available(&mut machine)?;
    // Some of it did not count as available.
    ensure!(less + BALLOON_MIB / 4 * 3 <= first, "{first} to {less} MiB");
    let taken = machine.memory_taken()?;
    ensure!(taken <= before + (8 << 20), "{before} to {taken} bytes");
    resize(&machine, 0)?;
    until(&machine, 0)?;
    disks::signal(&machine, SEEN)?;
    let last = available(&mut machine)?;
    println!("{first} MiB available, {less}, {last}; host: {before} bytes, {taken}");
    ensure!(last + 16 >= first, "{first} to {last} MiB");
    ensure!(machine.line()? == "done");
    machine.finish()
}

fn resize(machine: &Machine, balloon_mib: u64) -> anyhow::Result<Answer> {
    machine.ask(&Request::ResizeBalloon { balloon_mib }, &[])
}

fn until(machine: &Machine, mib: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let has = match machine.ask(&Request::Stats, &[])? {
            Answer::Stats(stats) => stats.balloon_mib,
            other => bail!("{other:?} instead of counts"),
        };
        if has == mib {
            println!("{mib} MiB in the balloon after {:?}", began.elapsed());
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{has} MiB in the balloon");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn available(machine: &mut Machine) -> anyhow::Result<u64> {
    let line = machine.line()?;
    let mib = line.strip_prefix("available ").context(line.clone())?;
    Ok(mib.parse()?)
}
