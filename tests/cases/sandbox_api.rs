//! Pods that containerd 2.x describes by the Sandbox API (`sandboxer = "shim"`):
//! no container stands for the pod, and what containerd's own sandbox controller
//! does otherwise is the shim's.

use std::time::Duration;

use anyhow::{Context, Result};
use ctl::cri::v1::{DnsConfig, PodSandboxState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::sizing;
use crate::bed::{Bed, Handler};
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, Limits, Pod, PodSpec, container, remove_failed};

/// Longer than a container takes that has nothing to do.
const SOON: Duration = Duration::from_secs(20);

/// What a process has that was killed.
const KILLED: i32 = 137;

cases![
    sandbox_api: life,
    sized_by_its_description,
    files_and_shared_memory_are_the_pods,
    pod_goes_on_without_containerd,
    death_of_the_vm_is_seen,
    refused_without_delay
];

fn pod(name: &str) -> PodSpec {
    crate::pod::pod(name).handler(Handler::SandboxApi)
}

async fn life(bed: &Bed) -> Result<()> {
    let pod = pod("life").run(bed).await?;
    assert_eq!(pod.status().await?.state(), PodSandboxState::SandboxReady);
    let short = container("main", &["sh", "-c", "echo hello; exit 7"]);
    let short = short.start(&pod).await?;
    assert_eq!(short.exit_code(SOON).await?, 7);
    let logs = short.logs_when(|logs| !logs.stdout.is_empty()).await?;
    assert_eq!(logs.stdout, "hello\n");
    let idle = ContainerSpec::idle("second").start(&pod).await?;
    assert_eq!(idle.ask(&["hostname"]).await?, "life");
    let tasks = bed.ctr_in("k8s.io").done(&["tasks", "ls", "-q"]).await?;
    assert!(tasks.contains(&idle.id), "{tasks}");
    assert!(!tasks.contains(&pod.id), "a task for the pod: {tasks}");
    pod.stop().await?;
    let status = pod.status().await?;
    assert_eq!(status.state(), PodSandboxState::SandboxNotready);
    pod.remove().await
}

async fn sized_by_its_description(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(1500).memory_mib(512);
    let pod = pod("sized").limits(limits).run(bed).await?;
    let container = ContainerSpec::idle("main")
        .limits(limits)
        .start(&pod)
        .await?;
    sizing::check(&sizing::look(&container).await?, 3, 2560)?;
    pod.remove().await
}

async fn files_and_shared_memory_are_the_pods(bed: &Bed) -> Result<()> {
    let dns = DnsConfig {
        servers: vec!["10.96.0.10".to_owned()],
        searches: vec!["e2e.svc.cluster.local".to_owned()],
        options: vec!["ndots:5".to_owned()],
    };
    let pod = pod("files").dns(dns).run(bed).await?;
    let one = ContainerSpec::idle("one").start(&pod).await?;
    let other = ContainerSpec::idle("other").start(&pod).await?;
    let resolver = one.ask(&["cat", "/etc/resolv.conf"]).await?;
    assert_eq!(
        resolver,
        "search e2e.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5"
    );
    assert_eq!(one.ask(&["cat", "/etc/hostname"]).await?, "files");
    let hosts = one.ask(&["cat", "/etc/hosts"]).await?;
    assert!(hosts.contains("localhost"), "{hosts}");
    one.ask(&["sh", "-c", "echo shared > /dev/shm/file"])
        .await?;
    assert_eq!(other.ask(&["cat", "/dev/shm/file"]).await?, "shared");
    pod.remove().await
}

async fn pod_goes_on_without_containerd(bed: &Bed) -> Result<()> {
    let mut pod = pod("goes-on").run(bed).await?;
    let mut container = ContainerSpec::idle("main").start(&pod).await?;
    bed.stop_containerd()?;
    bed.start_containerd()?;
    pod.reconnect(bed).await?;
    container.reconnect(&pod);
    assert_eq!(pod.status().await?.state(), PodSandboxState::SandboxReady);
    assert_eq!(container.ask(&["hostname"]).await?, "goes-on");
    let another = ContainerSpec::idle("another").start(&pod).await?;
    assert_eq!(another.ask(&["hostname"]).await?, "goes-on");
    pod.remove().await
}

async fn death_of_the_vm_is_seen(bed: &Bed) -> Result<()> {
    let pod = pod("dying").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let vmm = i32::try_from(pod.record()?.pids.vmm).context("a pid is an i32")?;
    kill(Pid::from_raw(vmm), Signal::SIGKILL).context("kill the VMM")?;
    assert_eq!(container.exit_code(SOON).await?, KILLED);
    not_ready(&pod).await?;
    pod.remove().await
}

async fn not_ready(pod: &Pod) -> Result<()> {
    let deadline = Instant::now() + patient(SOON);
    while pod.status().await?.state() != PodSandboxState::SandboxNotready {
        anyhow::ensure!(Instant::now() < deadline, "the pod still is ready");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The reason reaches the client, and nothing is left.
async fn refused_without_delay(bed: &Bed) -> Result<()> {
    let large = pod("large").limits(Limits::cpu(900_000));
    let refused = large.run(bed).await.err().context("it was not refused")?;
    let text = format!("{refused:#}");
    assert!(text.contains("raise guest.max_vcpus"), "{text}");
    remove_failed(bed).await
}
