//! How large a pod's VM is: 1 vCPU and 2048 MiB, and the containers' limits on
//! top; vCPUs rounded up once, memory down to whole MiB.

use anyhow::{Context, Result};

use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::cases;
use crate::pod::{Container, ContainerSpec, Limits, pod};
use crate::task;

cases![
    vm: without_limits,
    requests_alone,
    quarter_of_a_cpu,
    cpu_and_memory,
    memory_alone,
    fractions_of_two_containers_are_summed_first,
    annotations_change_the_base,
    lone_container
];

/// What the guest's kernel takes of `mib` before it counts: its own image and
/// tables, and a 64 byte record of each 4 KiB page.
fn kernels_share(mib: u64) -> u64 {
    64 + mib / 64
}

/// CPUs online and MiB of memory, in the words of two files of the guest.
const LOOK: &str = "cat /sys/devices/system/cpu/online; grep MemTotal /proc/meminfo";

/// Checks the answer to [`LOOK`].
pub(super) fn check(answer: &str, vcpus: u32, mib: u64) -> Result<()> {
    let online = if vcpus == 1 {
        "0".to_owned()
    } else {
        format!("0-{}", vcpus - 1)
    };
    let (cpus, memory) = answer.split_once('\n').context("two lines were expected")?;
    assert_eq!(cpus, online, "CPUs online");
    let kib: Option<u64> = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok());
    let seen = kib.with_context(|| format!("{memory:?} has no number"))? / 1024;
    let least = mib - kernels_share(mib);
    assert!(
        (least..=mib).contains(&seen),
        "{seen} MiB, not {least} to {mib}"
    );
    Ok(())
}

pub(super) async fn look(container: &Container) -> Result<String> {
    container.ask(&["sh", "-c", LOOK]).await
}

/// A pod of one container with `limits`.
async fn pod_with(bed: &Bed, limits: Limits, vcpus: u32, mib: u64) -> Result<()> {
    let pod = pod("sized").limits(limits).run(bed).await?;
    let container = ContainerSpec::idle("main")
        .limits(limits)
        .start(&pod)
        .await?;
    check(&look(&container).await?, vcpus, mib)?;
    pod.remove().await
}

async fn without_limits(bed: &Bed) -> Result<()> {
    pod_with(bed, Limits::NONE, 1, 2048).await
}

async fn requests_alone(bed: &Bed) -> Result<()> {
    pod_with(bed, Limits::requested_cpu(4000), 1, 2048).await
}

async fn quarter_of_a_cpu(bed: &Bed) -> Result<()> {
    pod_with(bed, Limits::cpu(250), 2, 2048).await
}

async fn cpu_and_memory(bed: &Bed) -> Result<()> {
    pod_with(bed, Limits::cpu(1500).memory_mib(512), 3, 2560).await
}

async fn memory_alone(bed: &Bed) -> Result<()> {
    pod_with(bed, Limits::NONE.memory_mib(100), 1, 2148).await
}

async fn fractions_of_two_containers_are_summed_first(bed: &Bed) -> Result<()> {
    let each = Limits::cpu(500).memory_mib(64);
    let pod = pod("two").limits(each.plus(each)).run(bed).await?;
    for name in ["first", "second"] {
        let container = ContainerSpec::idle(name).limits(each).start(&pod).await?;
        check(&look(&container).await?, 2, 2176)?;
    }
    pod.remove().await
}

async fn annotations_change_the_base(bed: &Bed) -> Result<()> {
    let limits = Limits::cpu(500).memory_mib(128);
    let pod = pod("annotated")
        .limits(limits)
        .annotation("io.katacontainers.config.hypervisor.default_vcpus", "2")
        .annotation("io.katacontainers.config.hypervisor.default_memory", "1024")
        .run(bed)
        .await?;
    let container = ContainerSpec::idle("main")
        .limits(limits)
        .start(&pod)
        .await?;
    check(&look(&container).await?, 3, 1152)?;
    pod.remove().await
}

async fn lone_container(bed: &Bed) -> Result<()> {
    let limits = ["--rm", "--cpus", "1.5", "--memory-limit", "536870912"];
    let run = task::run(bed, &limits, "sized", &["sh", "-c", LOOK]);
    check(&Ended::of(run).await?.success()?.stdout, 3, 2560)
}
