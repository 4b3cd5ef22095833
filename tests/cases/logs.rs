//! What containers write, as kubelet reads it.

use std::time::Duration;

use anyhow::Result;

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{container, pod};

/// Longer than any of these containers takes.
const SOON: Duration = Duration::from_secs(60);

cases![any: both_streams_apart, all_of_a_large_output, what_is_written_at_the_end];

async fn both_streams_apart(bed: &Bed) -> Result<()> {
    let pod = pod("apart").run(bed).await?;
    let script = "echo one; echo two >&2; printf 'no line feed'; exit 3";
    let container = container("main", &["sh", "-c", script]).start(&pod).await?;
    assert_eq!(container.exit_code(SOON).await?, 3);
    let logs = container.logs()?;
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("one\nno line feed", "two\n")
    );
    pod.remove().await
}

async fn all_of_a_large_output(bed: &Bed) -> Result<()> {
    let pod = pod("large").run(bed).await?;
    let script = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); yes $i | head -c 10000; echo; done";
    let container = container("main", &["sh", "-c", script]).start(&pod).await?;
    assert_eq!(container.exit_code(SOON).await?, 0);
    // A line feed after each 10000 bytes.
    assert_eq!(container.logs()?.stdout.len(), 200 * 10_001);
    pod.remove().await
}

/// The last words of a process are still in its pipes when it has ended.
async fn what_is_written_at_the_end(bed: &Bed) -> Result<()> {
    let pod = pod("end").run(bed).await?;
    for attempt in 0..5 {
        let spec = container("main", &["sh", "-c", "yes | head -c 60000; echo last >&2"]);
        let container = spec
            .attempt(attempt)
            .log(&format!("{attempt}.log"))
            .start(&pod)
            .await?;
        assert_eq!(container.exit_code(SOON).await?, 0);
        let logs = container.logs()?;
        assert_eq!(
            (logs.stdout.len(), logs.stderr.as_str()),
            (60_000, "last\n")
        );
        container.remove().await?;
    }
    pod.remove().await
}
