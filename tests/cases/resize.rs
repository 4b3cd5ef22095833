//! A pod's VM grows and shrinks with its containers' limits while they run.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

use super::sizing::{check, look};
use crate::bed::Bed;
use crate::harness::{cases, figure, patient};
use crate::pod::{Container, ContainerSpec, Limits, Pod, pod};

cases![
    vm: limits_go_up_and_down,
    too_large_changes_nothing,
    container_beside_the_declared_ones,
    declared_room_waits_for_the_next_container
];

/// A guest gives memory back when it can.
const SOON: Duration = Duration::from_secs(20);

/// The container's own limits, as its kernel has them.
const CGROUP: &str = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max";

async fn cgroup(container: &Container) -> Result<String> {
    container.ask(&["sh", "-c", CGROUP]).await
}

/// MiB that the container sees.
async fn memory(container: &Container) -> Result<u64> {
    let words = "grep MemTotal /proc/meminfo | tr -dc 0-9";
    let kib: u64 = container.ask(&["sh", "-c", words]).await?.parse()?;
    Ok(kib / 1024)
}

/// Waits until the guest has no more than `mib`.
pub(super) async fn await_memory(container: &Container, mib: u64) -> Result<()> {
    let begin = Instant::now();
    loop {
        let seen = memory(container).await?;
        if seen <= mib {
            return Ok(());
        }
        if begin.elapsed() > patient(SOON) {
            bail!("the guest keeps {seen} MiB, not {mib}");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn recorded(pod: &Pod, vcpus: u32, mib: u64) -> Result<()> {
    let record = pod.record()?;
    assert_eq!((record.vcpus, record.memory_mib), (vcpus, mib), "on record");
    Ok(())
}

async fn limits_go_up_and_down(bed: &Bed) -> Result<()> {
    let pod = pod("resized").run(bed).await?;
    let main = ContainerSpec::idle("main").start(&pod).await?;
    check(&look(&main).await?, 1, 2048)?;

    let begin = Instant::now();
    main.update(Limits::cpu(1500).memory_mib(256)).await?;
    figure(
        "resize: 1 to 3 vCPUs and 256 MiB more",
        format!("{:.2?}", begin.elapsed()),
    );
    assert_eq!(main.ask(&["nproc"]).await?, "3");
    check(&look(&main).await?, 3, 2304)?;
    let more = memory(&main).await?;
    assert_eq!(cgroup(&main).await?, "150000 100000\n268435456");
    recorded(&pod, 3, 2304)?;

    let begin = Instant::now();
    main.update(Limits::cpu(500).memory_mib(64)).await?;
    figure(
        "resize: 3 to 2 vCPUs and 192 MiB less",
        format!("{:.2?}", begin.elapsed()),
    );
    assert_eq!(main.ask(&["nproc"]).await?, "2");
    await_memory(&main, more - 192).await?;
    check(&look(&main).await?, 2, 2112)?;
    assert_eq!(cgroup(&main).await?, "50000 100000\n67108864");
    recorded(&pod, 2, 2112)?;

    // What went comes again.
    main.update(Limits::cpu(2500).memory_mib(512)).await?;
    check(&look(&main).await?, 4, 2560)?;
    pod.remove().await
}

async fn too_large_changes_nothing(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(500).memory_mib(64);
    let pod = pod("refused").limits(limits).run(bed).await?;
    let main = ContainerSpec::idle("main")
        .limits(limits)
        .start(&pod)
        .await?;
    for (limits, words) in [
        (Limits::cpu(30_000).memory_mib(64), "guest.hotplug_vcpus"),
        (
            Limits::cpu(500).memory_mib(100 << 10),
            "guest.hotplug_memory_mib",
        ),
        (Limits::cpu(100_000).memory_mib(64), "guest.max_vcpus"),
    ] {
        let Err(error) = main.update(limits).await else {
            bail!("{limits:?} was accepted");
        };
        let text = format!("{error:#}");
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    check(&look(&main).await?, 2, 2112)?;
    assert_eq!(cgroup(&main).await?, "50000 100000\n67108864");
    recorded(&pod, 2, 2112)?;
    pod.remove().await
}

/// An ephemeral container is in no sum that the pod's sandbox was told.
async fn container_beside_the_declared_ones(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(500).memory_mib(64);
    let pod = pod("debugged").limits(limits).run(bed).await?;
    let main = ContainerSpec::idle("main")
        .limits(limits)
        .start(&pod)
        .await?;
    let before = memory(&main).await?;
    let own = Limits::cpu(1000).memory_mib(128);
    let debugger = ContainerSpec::idle("debugger")
        .limits(own)
        .start(&pod)
        .await?;
    check(&look(&debugger).await?, 3, 2240)?;
    debugger.stop(Duration::from_secs(5)).await?;
    debugger.remove().await?;
    await_memory(&main, before).await?;
    check(&look(&main).await?, 2, 2112)?;

    let giant = Limits::cpu(30_000);
    let refused = ContainerSpec::idle("giant").limits(giant).start(&pod).await;
    let text = format!(
        "{:#}",
        refused.err().unwrap_or_else(|| anyhow::anyhow!("it runs"))
    );
    assert!(text.contains("guest.hotplug_vcpus"), "{text}");
    check(&look(&main).await?, 2, 2112)?;
    pod.remove().await
}

async fn declared_room_waits_for_the_next_container(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(1000).memory_mib(64);
    let pod = pod("replaced").limits(limits.plus(limits)).run(bed).await?;
    let staying = ContainerSpec::idle("staying")
        .limits(limits)
        .start(&pod)
        .await?;
    for attempt in 0..2 {
        let spec = ContainerSpec::idle("going").attempt(attempt).limits(limits);
        let going = spec.start(&pod).await?;
        check(&look(&going).await?, 3, 2176)?;
        going.ready().await?;
        going.stop(Duration::from_secs(5)).await?;
        going.remove().await?;
        check(&look(&staying).await?, 3, 2176)?;
    }
    pod.remove().await
}
