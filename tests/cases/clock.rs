//! The guest's wall clock agrees with the host's, whatever happens to either.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use tokio::time::sleep;

use crate::bed::Bed;
use crate::harness::{cases, figure, patient};
use crate::pod::{Container, ContainerSpec, pod};

cases![
    any: at_the_start;
    vm: after_the_vm_stood_still;
    built_in: after_the_hosts_was_set
];

/// What asking may take.
const CLOSE: Duration = Duration::from_millis(500);

/// How far the container's clock is behind ours, and whether it is ahead instead.
async fn off(container: &Container) -> Result<(Duration, bool)> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let look = "touch /dev/shm/now && stat -c '%Y %y' /dev/shm/now";
    let before = now()?;
    let answer = container.ask(&["sh", "-c", look]).await?;
    let after = now()?;
    let theirs = stamp(&answer).with_context(|| answer.clone())?;
    Ok(match theirs > after {
        true => (theirs - after, true),
        false => (before.saturating_sub(theirs), false),
    })
}

/// `<seconds since 1970> <date> <time>.<nanoseconds> <zone>`.
fn stamp(text: &str) -> Option<Duration> {
    let seconds = text.split(' ').next()?.parse().ok()?;
    let fraction = text.split('.').nth(1)?.split(' ').next()?;
    Some(Duration::new(seconds, fraction.parse().ok()?))
}

async fn agrees(container: &Container) -> Result<()> {
    let (off, ahead) = off(container).await?;
    ensure!(off < patient(CLOSE), "{off:?} off, ahead: {ahead}");
    Ok(())
}

/// A guest's clock is set when it is up, and not to when its start began.
async fn at_the_start(bed: &Bed) -> Result<()> {
    let pod = pod("clock").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    agrees(&container).await?;
    pod.remove().await
}

/// As where a host gives it no processor for a while.
async fn after_the_vm_stood_still(bed: &Bed) -> Result<()> {
    let pod = pod("still").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let vmm = Pid::from_raw(i32::try_from(pod.record()?.pids.vmm)?);
    kill(vmm, Signal::SIGSTOP)?;
    sleep(Duration::from_secs(3)).await;
    kill(vmm, Signal::SIGCONT)?;
    agrees(&container).await?;
    pod.remove().await
}

/// An hour forth and back again. Only where the host is a machine for tests: its
/// clock is everybody's.
async fn after_the_hosts_was_set(bed: &Bed) -> Result<()> {
    if !lab::inside() {
        figure("clock: the host's was set", "not tried outside of a lab");
        return Ok(());
    }
    let pod = pod("set").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    for by in [3600, -3600] {
        let now = clock_gettime(ClockId::Realtime);
        let then = Timespec {
            tv_sec: now.tv_sec + by,
            ..now
        };
        clock_settime(ClockId::Realtime, then).context("set the lab's clock")?;
        let begin = Instant::now();
        while let Err(error) = agrees(&container).await {
            if begin.elapsed() > patient(Duration::from_secs(5)) {
                return Err(error.context(format!("after {by} s")));
            }
        }
        figure(
            format!("clock: set by {by} s"),
            format!("{:.2?}", begin.elapsed()),
        );
    }
    pod.remove().await
}
