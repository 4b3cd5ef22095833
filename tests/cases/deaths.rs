//! A process of the pod on the host is killed: the containers are told to have
//! ended, the reason is in the log, and removal leaves nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};
use vmm_api::Pids;

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, pod};

cases![
    vm: of_the_vmm, of_the_fs_device, of_the_vsock_device, of_the_shim,
    of_a_shim_with_a_folder_of_its_own;
    built_in: of_a_vmm_that_made_a_forbidden_call
];

/// Longer than the end of a VM takes to be seen.
const SOON: Duration = Duration::from_secs(20);

/// How the shim begins to tell of a VM's end.
const END: &str = "the pod has lost its VM";

/// What a process has that was killed.
const KILLED: i32 = 137;

/// What containerd says where the shim's `delete` has told nothing yet.
const UNKNOWN: i32 = 255;

async fn of_the_vmm(bed: &Bed) -> Result<()> {
    let words = ["killed by signal 9"];
    death(bed, |pids| pids.vmm, Signal::SIGKILL, &words).await
}

async fn of_the_fs_device(bed: &Bed) -> Result<()> {
    death(bed, |pids| pids.fs, Signal::SIGKILL, &["fs"]).await
}

async fn of_the_vsock_device(bed: &Bed) -> Result<()> {
    death(bed, |pids| pids.vsock, Signal::SIGKILL, &["vsock"]).await
}

/// As its filter ends it.
async fn of_a_vmm_that_made_a_forbidden_call(bed: &Bed) -> Result<()> {
    let words = ["made a system call that its filter forbids"];
    death(bed, |pids| pids.vmm, Signal::SIGSYS, &words).await
}

/// Nobody is left to tell why: containerd sees it, and cleans up by `delete`.
async fn of_the_shim(bed: &Bed) -> Result<()> {
    death(bed, |pids| pids.shim, Signal::SIGKILL, &[]).await
}

/// `delete` looks where the handler's configuration says, which nobody tells it.
async fn of_a_shim_with_a_folder_of_its_own(bed: &Bed) -> Result<()> {
    let state = bed.layout.scratch("state");
    let changed = bed.configure("state_dir", state.display().to_string())?;
    let pod = pod("elsewhere").run(bed).await?;
    let folder = state.join("k8s.io").join(&pod.id);
    let pids = pod.record_in(&state)?.pids;
    let shim = i32::try_from(pids.shim).context("a pid is an i32")?;
    kill(Pid::from_raw(shim), Signal::SIGKILL).context("kill the shim")?;
    gone(pids.vmm).await?;
    pod.remove().await?;
    drop(changed);
    let deadline = Instant::now() + patient(SOON);
    while folder.exists() {
        ensure!(Instant::now() < deadline, "{} stays", folder.display());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Ends the process that `which` names by `signal`; `words` are in what the
/// shim says of the VM's end.
async fn death(bed: &Bed, which: fn(&Pids) -> u32, signal: Signal, words: &[&str]) -> Result<()> {
    let log = bed.log_length();
    let pod = pod("dying").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let pids = pod.record()?.pids;
    let victim = i32::try_from(which(&pids)).context("a pid is an i32")?;
    kill(Pid::from_raw(victim), signal).context("kill a process of the pod")?;
    let code = container.exit_code(SOON).await?;
    let told = victim.cast_unsigned() != pids.shim;
    assert!(code == KILLED || (code == UNKNOWN && !told), "{code}");
    for pid in [pids.vmm, pids.fs, pids.vsock] {
        gone(pid).await?;
    }
    if !words.is_empty() {
        reason(bed, log, words).await?;
    }
    pod.remove().await
}

/// Waits until process `pid` is no more.
async fn gone(pid: u32) -> Result<()> {
    let deadline = Instant::now() + patient(SOON);
    while Path::new(&format!("/proc/{pid}")).exists() {
        if Instant::now() > deadline {
            bail!("process {pid} lives on");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until what the shim logged of the VM's end, since the log was `since`
/// long, has all of `words`.
async fn reason(bed: &Bed, since: u64, words: &[&str]) -> Result<()> {
    let deadline = Instant::now() + patient(SOON);
    loop {
        let log = bed.log_since(since, usize::MAX);
        let told = log.lines().find(|line| line.contains(END));
        match told {
            Some(line) if words.iter().all(|word| line.contains(word)) => return Ok(()),
            Some(line) => bail!("not all of {words:?} are in: {line}"),
            None if Instant::now() > deadline => bail!("{END:?} is not in the log:\n{log}"),
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}
