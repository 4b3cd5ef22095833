//! A pod from its start to its removal, through CRI.

use std::time::Duration;

use anyhow::Result;
use ctl::cri::v1::{ContainerState, PodSandboxState};

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{ContainerSpec, container, pod};

/// Longer than a container takes that has nothing to do.
const SOON: Duration = Duration::from_secs(20);

cases![
    any: states, hostname, environment, usage_grows, removed_while_running
];

async fn states(bed: &Bed) -> Result<()> {
    let pod = pod("states").run(bed).await?;
    assert_eq!(pod.status().await?.state(), PodSandboxState::SandboxReady);
    let container = ContainerSpec::idle("main").create(&pod).await?;
    assert_eq!(
        container.status().await?.state(),
        ContainerState::ContainerCreated
    );
    container.start().await?;
    assert_eq!(
        container.status().await?.state(),
        ContainerState::ContainerRunning
    );
    pod.stop().await?;
    assert_eq!(
        container.status().await?.state(),
        ContainerState::ContainerExited
    );
    assert_eq!(
        pod.status().await?.state(),
        PodSandboxState::SandboxNotready
    );
    pod.remove().await
}

async fn hostname(bed: &Bed) -> Result<()> {
    let pod = pod("hostname").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    assert_eq!(container.ask(&["hostname"]).await?, "hostname");
    pod.remove().await
}

async fn environment(bed: &Bed) -> Result<()> {
    let pod = pod("environment").run(bed).await?;
    let spec = container("main", &["sh", "-c", "echo $GREETING from $PWD"]);
    let container = spec
        .env("GREETING", "hello")
        .working_dir("/tmp")
        .start(&pod)
        .await?;
    assert_eq!(container.exit_code(SOON).await?, 0);
    let greeting = "hello from /tmp\n";
    let logs = container.logs_when(|logs| logs.stdout == greeting).await?;
    assert_eq!(logs.stdout, greeting);
    pod.remove().await
}

async fn usage_grows(bed: &Bed) -> Result<()> {
    let pod = pod("usage").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let (before, memory) = container.usage().await?;
    assert!(memory > 0);
    container
        .ask(&[
            "sh",
            "-c",
            "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done",
        ])
        .await?;
    let (after, _) = container.usage().await?;
    assert!(after > before, "{before} ns, then {after} ns of CPU time");
    pod.remove().await
}

async fn removed_while_running(bed: &Bed) -> Result<()> {
    let pod = pod("running").run(bed).await?;
    // Takes no notice of SIGTERM.
    container(
        "main",
        &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
    )
    .start(&pod)
    .await?;
    pod.remove().await
}
