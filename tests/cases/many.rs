//! Many pods: one after the other, and at once.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::time::sleep;

use crate::bed::Bed;
use crate::harness::{cases, figure, patient};
use crate::pod::{ContainerSpec, Pod, pod};

cases![vm: twenty_one_after_the_other, eight_at_once];

const ONE_AFTER_THE_OTHER: usize = 20;
const AT_ONCE: usize = 8;

/// Much less than one VM holds.
const TOLERANCE_MIB: u64 = 30;

/// Starts pod `number` and returns it with its kernel's boot id.
async fn boot(bed: &Bed, number: usize) -> Result<(Pod, String)> {
    let pod = pod(&format!("pod-{number}")).run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let id = container
        .ask(&["cat", "/proc/sys/kernel/random/boot_id"])
        .await?;
    Ok((pod, id))
}

async fn twenty_one_after_the_other(bed: &Bed) -> Result<()> {
    let before = guests_mib()?;
    let begin = Instant::now();
    let mut ids = BTreeSet::new();
    for number in 0..ONE_AFTER_THE_OTHER {
        let (pod, id) = boot(bed, number).await?;
        ids.insert(id);
        pod.remove().await?;
    }
    let each = begin.elapsed() / u32::try_from(ONE_AFTER_THE_OTHER)?;
    figure(
        "a pod started, asked and removed, alone",
        format!("{each:.2?}"),
    );
    assert_eq!(ids.len(), ONE_AFTER_THE_OTHER, "{ids:?}");
    memory_is_back(before).await
}

async fn eight_at_once(bed: &Bed) -> Result<()> {
    let (before, available) = (guests_mib()?, mib("MemAvailable:")?);
    let begin = Instant::now();
    let pods = try_join_all((0..AT_ONCE).map(|number| boot(bed, number))).await?;
    figure(
        format!("{AT_ONCE} pods started at once"),
        format!("{:.2?}", begin.elapsed()),
    );
    let each = available.saturating_sub(mib("MemAvailable:")?) / u64::try_from(AT_ONCE)?;
    figure("host memory that each of them takes", format!("{each} MiB"));
    let (pods, ids): (Vec<_>, BTreeSet<_>) = pods.into_iter().unzip();
    assert_eq!(ids.len(), AT_ONCE, "{ids:?}");
    try_join_all(pods.into_iter().map(Pod::remove)).await?;
    memory_is_back(before).await
}

/// MiB that guests hold: their memory is shared memory (memfd), which hardly
/// anything else on a host uses. What is available to programs would tell of
/// the host's other work too.
fn guests_mib() -> Result<u64> {
    mib("Shmem:")
}

/// MiB in a line of `/proc/meminfo`.
fn mib(name: &str) -> Result<u64> {
    let table = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = table.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let kib = kib.with_context(|| format!("/proc/meminfo has no {name}"))?;
    Ok(kib / 1024)
}

/// A process that was killed gives its memory back a moment later.
async fn memory_is_back(before: u64) -> Result<()> {
    let deadline = Instant::now() + patient(Duration::from_secs(5));
    loop {
        let now = guests_mib()?;
        if now <= before + TOLERANCE_MIB {
            return Ok(());
        }
        assert!(
            Instant::now() < deadline,
            "guests held {before} MiB before, now {now}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}
