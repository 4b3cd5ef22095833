//! How containers are stopped.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{Container, Pod, container, pod};

cases![any: term_is_handled, term_is_ignored, without_grace, twice];

/// A container that does `on_term` when it is asked to end, once it is ready
/// to be asked.
async fn ready(pod: &Pod, on_term: &str) -> Result<Container> {
    let script = format!("trap '{on_term}' TERM; touch /ready; while :; do sleep 0.1; done");
    let container = container("main", &["sh", "-c", &script]).start(pod).await?;
    container.ready().await?;
    Ok(container)
}

async fn term_is_handled(bed: &Bed) -> Result<()> {
    let pod = pod("handled").run(bed).await?;
    let container = ready(&pod, "echo asked; exit 5").await?;
    let grace = Duration::from_secs(30);
    let begin = Instant::now();
    container.stop(grace).await?;
    assert!(
        begin.elapsed() < grace,
        "it was killed after {:?}",
        begin.elapsed()
    );
    assert_eq!(container.status().await?.exit_code, 5);
    let logs = container.logs_when(|logs| logs.stdout == "asked\n");
    assert_eq!(logs.await?.stdout, "asked\n");
    pod.remove().await
}

async fn term_is_ignored(bed: &Bed) -> Result<()> {
    let pod = pod("ignored").run(bed).await?;
    let container = ready(&pod, "echo asked").await?;
    let grace = Duration::from_secs(2);
    let begin = Instant::now();
    container.stop(grace).await?;
    assert!(
        begin.elapsed() >= grace,
        "it was killed after {:?}",
        begin.elapsed()
    );
    assert_eq!(container.status().await?.exit_code, 137);
    let logs = container.logs_when(|logs| logs.stdout == "asked\n");
    assert_eq!(logs.await?.stdout, "asked\n");
    pod.remove().await
}

async fn without_grace(bed: &Bed) -> Result<()> {
    let pod = pod("graceless").run(bed).await?;
    let container = ready(&pod, "echo asked; exit 5").await?;
    container.stop(Duration::ZERO).await?;
    assert_eq!(container.status().await?.exit_code, 137);
    assert_eq!(container.logs()?.stdout, "");
    pod.remove().await
}

async fn twice(bed: &Bed) -> Result<()> {
    let pod = pod("twice").run(bed).await?;
    let container = ready(&pod, "exit 0").await?;
    let grace = Duration::from_secs(30);
    container.stop(grace).await?;
    container.stop(grace).await?;
    pod.stop().await?;
    pod.stop().await?;
    pod.remove().await
}
