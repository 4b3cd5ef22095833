//! containerd ends and comes back under running pods, as in an upgrade.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{ContainerSpec, container, pod};

/// Longer than any of these containers takes.
const SOON: Duration = Duration::from_secs(20);

/// What containerd says of a container whose shim tells of no process when
/// containerd comes back: runc's does not once the container has ended.
const UNKNOWN: i32 = 255;

cases![any: pod_goes_on, end_in_between_is_seen, removal_afterwards];

async fn pod_goes_on(bed: &Bed) -> Result<()> {
    let mut pod = pod("goes-on").run(bed).await?;
    let mut container = ContainerSpec::idle("main").start(&pod).await?;
    let boot = ["cat", "/proc/sys/kernel/random/boot_id"];
    let before = container.ask(&boot).await?;
    bed.stop_containerd()?;
    bed.start_containerd()?;
    pod.reconnect(bed).await?;
    container.reconnect(&pod);
    assert_eq!(container.ask(&boot).await?, before);
    let echo = container.stream(&["cat"], b"hello").await?;
    assert_eq!(echo.stdout, b"hello");
    container.ready().await?;
    container.stop(SOON).await?;
    assert_eq!(container.status().await?.exit_code, 0);
    pod.remove().await
}

async fn end_in_between_is_seen(bed: &Bed) -> Result<()> {
    let mut pod = pod("in-between").run(bed).await?;
    let script = "until [ -e /go ]; do sleep 0.1; done; exit 9";
    let mut container = container("main", &["sh", "-c", script]).start(&pod).await?;
    container
        .ask(&["sh", "-c", "(sleep 1; touch /go) > /dev/null 2>&1 &"])
        .await?;
    bed.stop_containerd()?;
    sleep(Duration::from_secs(3)).await;
    bed.start_containerd()?;
    pod.reconnect(bed).await?;
    container.reconnect(&pod);
    let code = container.exit_code(SOON).await?;
    assert!(code == 9 || code == UNKNOWN, "exit code {code}");
    pod.remove().await
}

async fn removal_afterwards(bed: &Bed) -> Result<()> {
    let mut pod = pod("removal").run(bed).await?;
    ContainerSpec::idle("main").start(&pod).await?;
    bed.stop_containerd()?;
    bed.start_containerd()?;
    pod.reconnect(bed).await?;
    pod.remove().await
}
