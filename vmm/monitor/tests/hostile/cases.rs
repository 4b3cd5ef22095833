//! What every case has in common: what a guest did, and how its machine is then.

use anyhow::{Context, ensure};
use vmm_api::{Answer, Request, Stats, StopReason};

use crate::driver;
use crate::machine::Machine;
use crate::program::Op;
use crate::script::Script;

/// Name and body.
pub(crate) type Case = (&'static str, fn() -> anyhow::Result<()>);

/// Most memory of the VMM's process besides its guest's, KiB. It has some 3,200
/// at rest as it is built for tests, most of which is its unoptimized code; what
/// a guest could have it take would be its queues' contents, or its log's.
const MOST_OWN: u64 = 4 << 10;

/// Most descriptors that it has open: its devices' are some 30, and a guest
/// repeats what might leave some hundreds of times.
const MOST_FILES: usize = 64;

/// Most lines of its log: a burst of warnings, and one every ten seconds.
const MOST_LINES: usize = 20;

/// A guest does as `misbehave` says and goes on: its machine is as good as
/// before, can be asked and stopped, and has taken nothing from the host.
pub(crate) fn survives(misbehave: impl FnOnce(&mut Script)) -> anyhow::Result<()> {
    survives_beside(misbehave, |_| Ok(())).map(drop)
}

/// The same while the shim does as `beside` says. What the machine has done.
pub(crate) fn survives_beside(
    misbehave: impl FnOnce(&mut Script),
    beside: impl FnOnce(&mut Machine) -> anyhow::Result<()>,
) -> anyhow::Result<Stats> {
    let mut script = Script::new();
    // What is tried at the end is tried at the beginning.
    driver::check_machine(&mut script);
    misbehave(&mut script);
    driver::check_machine(&mut script);
    script.say("\nfine\n").step(Op::Halt, 0, 0, 0);

    let mut machine = Machine::start(&script)?;
    beside(&mut machine)?;
    machine.says("\nfine\n")?;
    let (own, files) = (machine.own_memory()?, machine.open_files()?);
    let stats = machine.stats()?;
    println!("{own} KiB, {files} descriptors, {stats:?}");
    ensure!(own <= MOST_OWN, "{own} KiB");
    ensure!(files <= MOST_FILES, "{files} descriptors are open");
    ensure!(machine.request(&Request::Stop)? == Answer::Done);
    let reason = machine.reason()?;
    ensure!(reason == StopReason::Requested, "{reason:?}");
    ends(machine)?;
    Ok(stats)
}

/// A guest does as `misbehave` says, and that ends its machine, with a reason
/// that `is_right`.
pub(crate) fn ends_with(
    misbehave: impl FnOnce(&mut Script),
    is_right: impl FnOnce(&StopReason) -> bool,
) -> anyhow::Result<()> {
    let mut script = Script::new();
    misbehave(&mut script);
    // It is not there to say so.
    script.exit(u8::MAX);
    let machine = Machine::start(&script)?;
    let reason = machine.reason()?;
    println!("{reason:?}");
    ensure!(is_right(&reason), "{reason:?}");
    ends(machine)
}

/// The process ends without a panic or a signal, and has not said much.
fn ends(mut machine: Machine) -> anyhow::Result<()> {
    let status = machine.ended()?;
    let log = machine.log_text();
    print!("{log}");
    status.code().with_context(|| format!("{status}: {log}"))?;
    ensure!(!log.contains("panicked"), "{log}");
    let lines = log.lines().count();
    ensure!(lines <= MOST_LINES, "{lines} lines: {log}");
    Ok(())
}
