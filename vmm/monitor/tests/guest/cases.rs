//! The cases with Linux in the guest.

use std::time::Duration;

use anyhow::{Context, ensure};
use vmm_api::{Answer, DiskConfig, Request, StopReason};

use crate::machine::{Machine, Shape};
use crate::memory::{self, HugePages};

/// Most memory of the VMM's process besides its guest's, KiB. 3 MiB are promised
/// of a release build (`make bench` shows it); the code of others is larger.
const MOST_OWN: u64 = if cfg!(debug_assertions) { 4 } else { 3 } << 10;

/// Name and body.
pub(crate) type Case = (&'static str, fn() -> anyhow::Result<()>);

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("one_processor_boots", || boots(1, 256)),
    ("two_processors_boot", || boots(2, 256)),
    ("four_processors_boot", || boots(4, 256)),
    ("two_gib_boot", || boots(1, 2048)),
    ("memory_on_both_sides_of_the_gap_boots", || boots(2, 5120)),
    ("huge_pages_are_used_where_the_host_allows", huge_pages_are_used_where_the_host_allows),
    ("what_a_boot_touches_is_in_huge_pages_anywhere", what_a_boot_touches_is_in_huge_pages_anywhere),
    ("a_share_is_mounted", a_share_is_mounted),
    ("the_agent_takes_a_disk_and_lets_go_of_it", the_agent_takes_a_disk_and_lets_go_of_it),
    ("a_reboot_is_told", a_reboot_is_told),
    ("a_panic_is_told", a_panic_is_told),
    ("a_triple_fault_is_told", a_triple_fault_is_told),
    ("a_stop_is_immediate", a_stop_is_immediate),
    ("a_paused_guest_holds_still", a_paused_guest_holds_still),
    ("the_end_of_the_shim_ends_everything", the_end_of_the_shim_ends_everything),
    ("a_killed_vmm_leaves_nothing", a_killed_vmm_leaves_nothing),
    ("a_lost_device_is_told", a_lost_device_is_told),
];

fn boots(vcpus: u32, memory_mib: u64) -> anyhow::Result<()> {
    let machine = Machine::start(Shape {
        vcpus,
        memory_mib,
        ..Shape::default()
    })?;
    let started = machine.began.elapsed();
    let agent = machine.agent_hello()?;
    let hello = machine.began.elapsed();
    println!("{vcpus} vCPU, {memory_mib} MiB: running after {started:?}, hello after {hello:?}");
    println!("{:?}", machine.stats()?);
    println!("{:?}", agent.hello);
    print!("{}", machine.console());
    Ok(())
}

fn huge_pages_are_used_where_the_host_allows() -> anyhow::Result<()> {
    let setting = HugePages::set("advise")?;
    let machine = Machine::start(Shape::default())?;
    let _agent = machine.agent_hello()?;
    drop(setting);
    let memory = memory::of(machine.vmm.id())?;
    println!("{memory:?} KiB");
    // A boot touches about 40 MiB of 256.
    ensure!(memory.guest_huge > 16 << 10, "{memory:?}");
    ensure!(memory.own <= MOST_OWN, "{memory:?}");
    Ok(())
}

/// Also on a host that gives shared memory none by itself.
fn what_a_boot_touches_is_in_huge_pages_anywhere() -> anyhow::Result<()> {
    let setting = HugePages::set("never")?;
    let machine = Machine::start(Shape::default())?;
    let _agent = machine.agent_hello()?;
    drop(setting);
    let memory = memory::of(machine.vmm.id())?;
    println!("{memory:?} KiB");
    ensure!(memory.guest_huge >= 24 << 10, "{memory:?}");
    ensure!(memory.own <= MOST_OWN, "{memory:?}");
    Ok(())
}

fn the_agent_takes_a_disk_and_lets_go_of_it() -> anyhow::Result<()> {
    let machine = Machine::start(Shape::default())?;
    let agent = machine.agent_hello()?;
    let refused = |slot: &str, serial: &str, why: &str| {
        let attached = agent.attach_disk(slot, serial);
        let error = attached.err().context("it was not refused")?;
        ensure!(error.to_string().contains(why), "{error}");
        Ok(())
    };
    refused("virtio-mmio.31", "data", "there is no device")?;
    for round in 0..3 {
        let file = tempfile::tempfile()?;
        file.set_len(1 << 20)?;
        let disk = DiskConfig {
            serial: "data".to_owned(),
            read_only: false,
            queues: 1,
        };
        let slot = machine.attach(disk, file.into())?;
        refused(&slot, "another", "another")?;
        let path = agent.attach_disk(&slot, "data")?;
        println!("round {round}: {path} in {slot}");
        refused(&slot, "data", "has a driver already")?;
        agent.detach_disk(&slot)?;
        let answer = machine.request(&Request::Detach { slot })?;
        ensure!(answer == Answer::Done, "{answer:?}");
    }
    agent.is_there()
}

fn a_share_is_mounted() -> anyhow::Result<()> {
    let machine = Machine::start(Shape::default())?;
    machine.agent_hello()?.create_sandbox()
}

/// The agent ends the guest when its connection does.
fn a_reboot_is_told() -> anyhow::Result<()> {
    ends(Shape::default(), &StopReason::Rebooted)
}

fn a_triple_fault_is_told() -> anyhow::Result<()> {
    let shape = Shape {
        parameters: "reboot=t",
        ..Shape::default()
    };
    ends(shape, &StopReason::TripleFault)
}

fn ends(shape: Shape, expected: &StopReason) -> anyhow::Result<()> {
    let mut machine = Machine::start(shape)?;
    drop(machine.agent_hello()?);
    let reason = machine.stopped()?;
    ensure!(reason == *expected, "{reason:?}");
    Ok(())
}

/// Without an init there is nothing else a kernel can do.
fn a_panic_is_told() -> anyhow::Result<()> {
    let mut machine = Machine::start(Shape {
        parameters: "rdinit=/nothing",
        ..Shape::default()
    })?;
    let reason = machine.stopped()?;
    ensure!(reason == StopReason::Panicked, "{reason:?}");
    let console = machine.console();
    ensure!(console.contains("Kernel panic"), "{console}");
    Ok(())
}

fn a_stop_is_immediate() -> anyhow::Result<()> {
    let mut machine = Machine::start(Shape {
        vcpus: 2,
        ..Shape::default()
    })?;
    let _agent = machine.agent_hello()?;
    ensure!(machine.request(&Request::Stop)? == Answer::Done);
    let reason = machine.stopped()?;
    ensure!(reason == StopReason::Requested, "{reason:?}");
    Ok(())
}

fn a_paused_guest_holds_still() -> anyhow::Result<()> {
    let machine = Machine::start(Shape {
        vcpus: 2,
        ..Shape::default()
    })?;
    let agent = machine.agent_hello()?;
    ensure!(
        machine.request(&Request::Resume).is_err(),
        "it runs already"
    );
    ensure!(machine.request(&Request::Pause)? == Answer::Done);
    ensure!(machine.request(&Request::Pause).is_err(), "paused twice");
    ensure!(
        !agent.answers_within(Duration::from_millis(500)),
        "it answers"
    );
    ensure!(machine.request(&Request::Resume)? == Answer::Done);
    agent.is_there()
}

fn the_end_of_the_shim_ends_everything() -> anyhow::Result<()> {
    let mut machine = Machine::start(Shape::default())?;
    let _agent = machine.agent_hello()?;
    machine.hang_up();
    let status = machine.ended()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn a_killed_vmm_leaves_nothing() -> anyhow::Result<()> {
    let mut machine = Machine::start(Shape::default())?;
    let _agent = machine.agent_hello()?;
    machine.vmm.kill()?;
    machine.ended().map(drop)
}

fn a_lost_device_is_told() -> anyhow::Result<()> {
    let mut machine = Machine::start(Shape::default())?;
    let _agent = machine.agent_hello()?;
    machine.kill_fs()?;
    let reason = machine.stopped()?;
    let device = "fs".to_owned();
    ensure!(reason == StopReason::DeviceLost { device }, "{reason:?}");
    Ok(())
}
