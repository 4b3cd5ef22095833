//! `bed soak`: pods made, used and removed in a loop, some at a time. Nothing
//! may fail, stay behind, or grow.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::bed::{Bed, Version};
use e2e::leaks::Snapshot;
use e2e::pod::{Pod, container, pod};
use futures::stream::{StreamExt, TryStreamExt, iter};

use crate::steps::{bar, step};
use crate::up::in_bed;

/// How many starts at the begin are compared with as many at the end.
const COMPARED: usize = 10;

/// Make, use and remove many pods.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which containerd.
    #[arg(long = "version", value_enum, default_value = "2")]
    containerd: Version,

    /// How many pods in all.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pods: u32,

    /// How many at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,
}

pub(crate) fn soak(args: &Args) -> Result<ExitCode> {
    in_bed(args.containerd, async |bed| run(bed, args).await)
}

async fn run(bed: &Bed, args: &Args) -> Result<()> {
    // What there is for the first time only is not left behind by the others.
    step("warm up", life(bed, 0)).await?;
    let snapshot = Snapshot::take(bed).await?;
    let before = Memory::now(bed)?;
    let progress = bar(args.pods.into(), "pods");
    let lives = iter(1..=args.pods)
        .map(|number| async move {
            life(bed, number)
                .await
                .with_context(|| format!("pod {number}"))
        })
        .buffered(args.at_once.into())
        .inspect_ok(|_| progress.inc(1));
    let lives: Vec<Life> = lives.try_collect().await?;
    progress.finish_and_clear();
    let kernels: BTreeSet<_> = lives.iter().map(|life| &life.boot_id).collect();
    ensure!(kernels.len() == lives.len(), "two pods had the same kernel");
    snapshot.assert_nothing_more(bed).await?;
    report(args, &lives, &before, &Memory::now(bed)?);
    Ok(())
}

/// What one pod showed.
struct Life {
    /// From the request for a sandbox to a running container.
    start: Duration,
    boot_id: String,
}

async fn life(bed: &Bed, number: u32) -> Result<Life> {
    let begin = Instant::now();
    let pod = pod(&format!("soak-{number}")).run(bed).await?;
    let lived = live(&pod, number, begin).await;
    pod.remove().await?;
    lived
}

async fn live(pod: &Pod, number: u32, begin: Instant) -> Result<Life> {
    let line = format!("pod {number}\n");
    let script = format!("echo pod {number}; exec sleep 1000");
    let container = container("main", &["sh", "-c", &script]).start(pod).await?;
    let start = begin.elapsed();
    let boot_id = container
        .ask(&["cat", "/proc/sys/kernel/random/boot_id"])
        .await?;
    let echo = container.stream(&["cat"], line.as_bytes()).await?;
    ensure!(echo.stdout == line.as_bytes(), "exec answered {echo:?}");
    let logs = container.logs_when(|logs| logs.stdout == line).await?;
    ensure!(logs.stdout == line, "the log has {:?}", logs.stdout);
    Ok(Life { start, boot_id })
}

/// KiB that could grow.
struct Memory {
    guests: u64,
    containerd: u64,
}

impl Memory {
    fn now(bed: &Bed) -> Result<Self> {
        let containerd = bed.containerd_pid().context("containerd is not running")?;
        Ok(Self {
            // Guests' memory is shared memory, which hardly anything else uses.
            guests: kib("/proc/meminfo", "Shmem:")?,
            containerd: kib(&format!("/proc/{containerd}/status"), "RssAnon:")?,
        })
    }
}

fn kib(path: &str, name: &str) -> Result<u64> {
    let table = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = table.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.with_context(|| format!("{path} has no {name}"))
}

fn report(args: &Args, lives: &[Life], before: &Memory, after: &Memory) {
    let count = COMPARED.min(lives.len());
    let first = median(lives.iter().take(count));
    let last = median(lives.iter().rev().take(count));
    println!(
        "{} pods, {} at a time, on {}: none failed, nothing is left",
        args.pods, args.at_once, args.containerd
    );
    println!("median start of the first {count}  {first:.2?}");
    println!("median start of the last {count}   {last:.2?}");
    println!(
        "last / first               {:.2}",
        last.as_secs_f64() / first.as_secs_f64()
    );
    println!(
        "guests' memory             {} -> {} KiB",
        before.guests, after.guests
    );
    println!(
        "containerd's memory        {} -> {} KiB",
        before.containerd, after.containerd
    );
}

fn median<'a>(lives: impl Iterator<Item = &'a Life>) -> Duration {
    let mut starts: Vec<_> = lives.map(|life| life.start).collect();
    starts.sort();
    starts.get(starts.len() / 2).copied().unwrap_or_default()
}
