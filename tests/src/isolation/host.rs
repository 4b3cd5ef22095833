//! What of the host must be the same after the bed as before.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

/// Places where a runtime that escaped its namespaces would leave something.
const FOLDERS: &[&str] = &[
    "/run/kata-mshv-vm-isolation",
    "/run/containerd",
    "/run/netns",
    "/dev/shm",
];

/// Mounts, interfaces and runtime files of the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host(BTreeSet<String>);

impl Host {
    pub(super) fn look() -> Result<Self> {
        let mut seen = mount_points()?;
        for folder in FOLDERS.iter().chain(&["/sys/class/net"]) {
            seen.extend(entries(Path::new(folder))?);
        }
        Ok(Self(seen))
    }

    /// Fails, naming them, when there are things that were not there before.
    /// Things that went away were not the bed's.
    pub(super) fn compare(&self) -> Result<()> {
        let now = Self::look()?;
        let new: Vec<_> = now.0.difference(&self.0).map(String::as_str).collect();
        ensure!(
            new.is_empty(),
            "new on the host since the bed was made, so the bed has a hole:\n  {}",
            new.join("\n  ")
        );
        Ok(())
    }
}

fn mount_points() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("list the host's mounts")?;
    let point = |line: &str| line.split(' ').nth(4).map(|point| format!("mount {point}"));
    Ok(table.lines().filter_map(point).collect())
}

fn entries(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    Ok(entries
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect())
}
