//! What the guest frees.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::disks;
use crate::guest::{LOOKED, SEEN, WASTE};
use crate::machine::{Devices, Machine};

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
