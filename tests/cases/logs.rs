//! What containers write, as kubelet reads it.

use std::time::Duration;

use anyhow::Result;

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{Logs, container, pod};

/// Longer than any of these containers takes.
const SOON: Duration = Duration::from_secs(60);

cases![any: both_streams_apart, all_of_a_large_output, what_is_written_at_the_end];

async fn both_streams_apart(bed: &Bed) -> Result<()> {
    let pod = pod("apart").run(bed).await?;
    let script = "echo one; echo two >&2; printf 'no line feed'; exit 3";
    let container = container("main", &["sh", "-c", script]).start(&pod).await?;
    assert_eq!(container.exit_code(SOON).await?, 3);
    let expected = Logs {
        stdout: "one\nno line feed".to_owned(),
        stderr: "two\n".to_owned(),
    };
    assert_eq!(
        container.logs_when(|logs| *logs == expected).await?,
        expected
    );
    pod.remove().await
}

async fn all_of_a_large_output(bed: &Bed) -> Result<()> {
    let pod = pod("large").run(bed).await?;
    let script = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); yes $i | head -c 10000; echo; done";
    let container = container("main", &["sh", "-c", script]).start(&pod).await?;
    assert_eq!(container.exit_code(SOON).await?, 0);
    // A line feed after each 10000 bytes.
    let length = 200 * 10_001;
    let logs = container.logs_when(|logs| logs.stdout.len() == length);
    assert_eq!(logs.await?.stdout.len(), length);
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
        let whole = |logs: &Logs| (logs.stdout.len(), logs.stderr.as_str()) == (60_000, "last\n");
        let logs = container.logs_when(whole).await?;
        assert!(
            whole(&logs),
            "{} bytes, {:?}",
            logs.stdout.len(),
            logs.stderr
        );
        container.remove().await?;
    }
    pod.remove().await
}
