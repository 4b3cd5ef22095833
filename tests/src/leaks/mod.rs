//! What a bed holds at a moment, to tell what a case left behind.

mod cgroups;
mod containerd;
mod files;
mod links;
mod mounts;
mod processes;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::bed::Bed;
use crate::harness::patient;

/// Processes end, and the kernel takes their things away, a moment after the
/// answer that announces it.
const SETTLE: Duration = Duration::from_secs(3);

/// Everything of a bed that a pod may leave: processes, mounts, interfaces,
/// files, control groups, and containerd's own records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<Thing>);

/// One thing: its kind, and what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Thing {
    kind: &'static str,
    name: String,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {}", self.kind, self.name)
    }
}

impl Snapshot {
    /// What is there now.
    ///
    /// # Errors
    ///
    /// `/proc`, `/sys` or containerd cannot be asked.
    pub async fn take(bed: &Bed) -> Result<Self> {
        let kinds = [
            ("process", processes::list(bed)?),
            ("mount", mounts::list()?),
            ("interface", links::list()?),
            ("file", files::list(bed)?),
            ("cgroup", cgroups::list()?),
            ("containerd", containerd::list(bed).await?),
        ];
        let things = kinds
            .into_iter()
            .flat_map(|(kind, names)| names.into_iter().map(move |name| Thing { kind, name }));
        Ok(Self(things.collect()))
    }

    /// Waits, for a few seconds at most, until the bed holds no more than this.
    ///
    /// # Errors
    ///
    /// Names everything that stays.
    pub async fn assert_nothing_more(&self, bed: &Bed) -> Result<()> {
        let deadline = Instant::now() + patient(SETTLE);
        loop {
            let now = Self::take(bed).await?;
            let left: Vec<_> = now.0.difference(&self.0).map(Thing::to_string).collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("left behind:\n  {}", left.join("\n  "));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
