//! Cases of many processors, and of machines whose number of them changes.

use std::fs::{self, DirEntry};
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::libc::{self, RLIM_INFINITY};
use vmm_api::{Answer, Request};

use crate::agent::Agent;
use crate::cases::Case;
use crate::machine::{Machine, Shape};

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("eight_processors_boot", || boots(8)),
    ("thirty_two_processors_boot", || boots(32)),
    ("processors_come_and_go", processors_come_and_go),
    ("processors_come_to_a_paused_machine", processors_come_to_a_paused_machine),
    ("a_processor_without_a_thread_gets_one_later", a_processor_without_a_thread_gets_one_later),
    ("impossible_numbers_of_processors_are_refused", impossible_numbers_of_processors_are_refused),
    ("a_processor_that_is_not_made_does_not_come_online", a_processor_that_is_not_made_does_not_come_online),
    ("a_guest_that_loses_a_processor_can_still_be_stopped", a_guest_that_loses_a_processor_can_still_be_stopped),
];

fn start(vcpus: u32, max_vcpus: u32) -> anyhow::Result<(Machine, Agent)> {
    let machine = Machine::start(Shape {
        vcpus,
        max_vcpus,
        ..Shape::default()
    })?;
    let agent = machine.agent_hello()?;
    let took = machine.began.elapsed();
    println!("{vcpus} vCPU, at most {max_vcpus}: hello after {took:?}");
    Ok((machine, agent))
}

fn boots(vcpus: u32) -> anyhow::Result<()> {
    let (machine, agent) = start(vcpus, vcpus)?;
    // The kernel would refuse what is not online, and wait in vain for a
    // processor that does not start.
    agent.set_processors(1)?;
    agent.set_processors(vcpus)?;
    ensure!(threads(&machine)? == usize::try_from(vcpus)?);
    Ok(())
}

fn processors_come_and_go() -> anyhow::Result<()> {
    let (machine, agent) = start(1, 4)?;
    ensure!(
        threads(&machine)? == 1,
        "threads for processors that do not run"
    );
    for _ in 0..2 {
        let began = Instant::now();
        resize(&machine, 4)?;
        let made = began.elapsed();
        agent.set_processors(4)?;
        println!(
            "1 to 4: made after {made:?}, online after {:?}",
            began.elapsed()
        );
        ensure!(threads(&machine)? == 4 && machine.stats()?.vcpus == 4);
        let began = Instant::now();
        agent.set_processors(1)?;
        resize(&machine, 1)?;
        println!("4 to 1: after {:?}", began.elapsed());
        ensure!(threads(&machine)? == 1 && machine.stats()?.vcpus == 1);
        agent.is_there()?;
    }
    ensure!(machine.request(&Request::Pause)? == Answer::Done);
    ensure!(machine.request(&Request::Resume)? == Answer::Done);
    agent.is_there()
}

fn processors_come_to_a_paused_machine() -> anyhow::Result<()> {
    let (machine, agent) = start(2, 3)?;
    ensure!(machine.request(&Request::Pause)? == Answer::Done);
    resize(&machine, 3)?;
    ensure!(threads(&machine)? == 3);
    ensure!(machine.request(&Request::Resume)? == Answer::Done);
    agent.set_processors(3)?;
    agent.set_processors(2)?;
    ensure!(machine.request(&Request::Pause)? == Answer::Done);
    resize(&machine, 2)?;
    ensure!(threads(&machine)? == 2);
    ensure!(machine.request(&Request::Resume)? == Answer::Done);
    agent.is_there()
}

fn impossible_numbers_of_processors_are_refused() -> anyhow::Result<()> {
    let (machine, agent) = start(1, 2)?;
    for vcpus in [0, 3, 255, 256, u32::MAX] {
        let refused = machine.request(&Request::ResizeVcpus { vcpus });
        let why = refused.err().context("it was done")?.to_string();
        ensure!(why.ends_with("this machine can have 1 to 2"), "{why}");
        ensure!(agent.set_processors(vcpus).is_err(), "{vcpus} online");
    }
    ensure!(threads(&machine)? == 1);
    agent.is_there()
}

/// Address space for all of a processor but its thread's stack. KVM does not
/// make one of the same number twice.
fn a_processor_without_a_thread_gets_one_later() -> anyhow::Result<()> {
    let (machine, agent) = start(1, 3)?;
    resize(&machine, 2)?;
    agent.set_processors(2)?;
    let before = address_space(&machine)?;
    limit_address_space(&machine, before + (64 << 10))?;
    let refused = machine.request(&Request::ResizeVcpus { vcpus: 3 });
    let why = refused.err().context("there was room")?.to_string();
    ensure!(why.contains("start the thread of processor 2"), "{why}");
    ensure!(threads(&machine)? == 2 && machine.stats()?.vcpus == 2);
    agent.is_there()?;
    limit_address_space(&machine, RLIM_INFINITY)?;
    resize(&machine, 3)?;
    agent.set_processors(3)?;
    ensure!(threads(&machine)? == 3);
    agent.is_there()
}

/// Bytes.
fn address_space(machine: &Machine) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/statm", machine.vmm.id()))?;
    let pages = text.split(' ').next().context("no numbers")?;
    Ok(pages.parse::<u64>()? * 4096)
}

#[allow(unsafe_code)] // Limits of another process have no safe wrapper.
fn limit_address_space(machine: &Machine, bytes: u64) -> anyhow::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: RLIM_INFINITY,
    };
    let pid = i32::try_from(machine.vmm.id())?;
    // SAFETY: the kernel reads the limits during the call, and writes none back.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &raw const limit, std::ptr::null_mut()) };
    nix::errno::Errno::result(set)?;
    Ok(())
}

/// By which the other cases know that those that come have run.
fn a_processor_that_is_not_made_does_not_come_online() -> anyhow::Result<()> {
    let (machine, agent) = start(1, 2)?;
    let began = Instant::now();
    let refused = agent.set_processors(2);
    let why = refused.err().context("it is online")?.to_string();
    println!("after {:?}: {why}", began.elapsed());
    ensure!(why.contains("bring processor 1 online"), "{why}");
    resize(&machine, 2)?;
    agent.set_processors(2)
}

fn a_guest_that_loses_a_processor_can_still_be_stopped() -> anyhow::Result<()> {
    let (mut machine, _agent) = start(2, 2)?;
    // Its kernel uses it.
    resize(&machine, 1)?;
    ensure!(threads(&machine)? == 1);
    ensure!(machine.request(&Request::Pause)? == Answer::Done);
    ensure!(machine.request(&Request::Resume)? == Answer::Done);
    resize(&machine, 2)?;
    ensure!(machine.request(&Request::Stop)? == Answer::Done);
    machine.stopped().map(drop)
}

fn resize(machine: &Machine, vcpus: u32) -> anyhow::Result<()> {
    let answer = machine.request(&Request::ResizeVcpus { vcpus })?;
    ensure!(answer == Answer::Done, "{answer:?}");
    Ok(())
}

/// Of processors. Others are the VMM's main one and KVM's.
fn threads(machine: &Machine) -> anyhow::Result<usize> {
    let mut threads = 0;
    for task in tasks(machine)? {
        threads += usize::from(name(&task)?.starts_with("vcpu"));
    }
    Ok(threads)
}

fn tasks(machine: &Machine) -> anyhow::Result<Vec<DirEntry>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", machine.vmm.id()))?;
    Ok(tasks.collect::<Result<_, _>>()?)
}

fn name(task: &DirEntry) -> anyhow::Result<String> {
    let name = fs::read_to_string(task.path().join("comm"))?;
    Ok(name.trim().to_owned())
}
