//! A guest does not answer, or nobody waits for the answer: the pod ends all the same,
//! and nothing of it stays.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use config::Config;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, pod, remove_failed};

cases![vm: a_guest_stands_still, a_client_goes_away_while_the_pod_boots];

/// Longer than a boot takes, and the end of what was booted.
const SOON: Duration = Duration::from_secs(30);

/// As one whose agent hangs. containerd kills the container first; the shim waits half a
/// minute for the guest to do so.
async fn a_guest_stands_still(bed: &Bed) -> Result<()> {
    let log = bed.log_length();
    let pod = pod("still").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let vmm = i32::try_from(pod.record()?.pids.vmm).context("a pid is an i32")?;
    kill(Pid::from_raw(vmm), Signal::SIGSTOP).context("stop the VMM")?;
    pod.stop().await?;
    assert_eq!(container.status().await?.exit_code, 137);
    let log = bed.log_since(log, usize::MAX);
    let told = log
        .lines()
        .find(|line| line.contains("the pod has lost its VM"));
    let told = told.context("why is not in the log")?;
    for word in ["killing container", "did not answer"] {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
    pod.remove().await
}

/// containerd gives its answer up then, and has the shim delete what is not there yet.
async fn a_client_goes_away_while_the_pod_boots(bed: &Bed) -> Result<()> {
    tokio::select! {
        // Booted before we looked: there is nothing to see.
        pod = pod("abandoned").run(bed) => return pod?.remove().await,
        begun = booting(true) => begun?,
    }
    booting(false).await?;
    remove_failed(bed).await
}

/// Waits until there is a pod's folder, which it has from its boot to its end; or none.
async fn booting(wanted: bool) -> Result<()> {
    let folder = Config::default().state_dir.join("k8s.io");
    let deadline = Instant::now() + patient(SOON);
    loop {
        let pods = fs::read_dir(&folder).map_or(0, Iterator::count);
        if (pods > 0) == wanted {
            return Ok(());
        }
        let text = format!("{pods} pods are in {}", folder.display());
        ensure!(Instant::now() < deadline, "{text}");
        sleep(Duration::from_millis(5)).await;
    }
}
