//! Signals: every number that there is reaches a container's first process.

use anyhow::{Result, ensure};

use crate::bed::Bed;
use crate::harness::cases;
use crate::images::TRIALS;
use crate::pod::{container, pod};

cases![any: every_number_arrives];

/// Numbers that no process can wait for.
const KILL: u32 = 9;
const STOP: u32 = 19;

/// 1 to 31, and the real-time ones up to 64, through containerd's own command: of
/// CRI, a container's stop signal alone is one.
async fn every_number_arrives(bed: &Bed) -> Result<()> {
    let pod = pod("signalled").run(bed).await?;
    let main = container("main", &["trial", "signals"]).image(TRIALS);
    let main = main.start(&pod).await?;
    let mut expected = "waiting\n".to_owned();
    let ctr = bed.ctr_in("k8s.io");
    for number in (1..=64).filter(|number| ![KILL, STOP].contains(number)) {
        let logs = main.logs_when(|logs| logs.stdout == expected).await?;
        ensure!(logs.stdout == expected, "{:?} before {number}", logs.stdout);
        let word = number.to_string();
        ctr.done(&["task", "kill", "--signal", &word, &main.id])
            .await?;
        expected.push_str(&format!("{number}\n"));
    }
    let logs = main.logs_when(|logs| logs.stdout == expected).await?;
    assert_eq!(logs.stdout, expected);
    pod.remove().await
}
