//! Many pods: one after the other, and at once.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::time::sleep;

use crate::bed::Bed;
use crate::harness::{cases, figure};
use crate::pod::{ContainerSpec, Pod, pod};

cases![vm: twenty_one_after_the_other, eight_at_once];

const ONE_AFTER_THE_OTHER: usize = 20;
const AT_ONCE: usize = 8;

/// Much less than one VM holds, much more than the host's own ups and downs.
const TOLERANCE_MIB: u64 = 100;

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
    let before = available_mib()?;
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
    let before = available_mib()?;
    let begin = Instant::now();
    let pods = try_join_all((0..AT_ONCE).map(|number| boot(bed, number))).await?;
    figure(
        format!("{AT_ONCE} pods started at once"),
        format!("{:.2?}", begin.elapsed()),
    );
    let each = before.saturating_sub(available_mib()?) / u64::try_from(AT_ONCE)?;
    figure("host memory that each of them takes", format!("{each} MiB"));
    let (pods, ids): (Vec<_>, BTreeSet<_>) = pods.into_iter().unzip();
    assert_eq!(ids.len(), AT_ONCE, "{ids:?}");
    try_join_all(pods.into_iter().map(Pod::remove)).await?;
    memory_is_back(before).await
}

/// MiB that the host could give to programs.
fn available_mib() -> Result<u64> {
    let table = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = table.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.context("/proc/meminfo has no MemAvailable")? / 1024)
}

/// Others work on the host too, so it may take a moment.
async fn memory_is_back(before: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = available_mib()?;
        if now + TOLERANCE_MIB >= before {
            return Ok(());
        }
        assert!(
            Instant::now() < deadline,
            "{before} MiB were available, now {now}"
        );
        sleep(Duration::from_millis(200)).await;
    }
}
