//! Mounts of the bed's mount namespace.

use std::fs;

use anyhow::{Context, Result};

/// `type on point` of each.
pub(super) fn list() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("list mounts")?;
    Ok(table.lines().filter_map(describe).collect())
}

fn describe(line: &str) -> Option<String> {
    let (mount, fs) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    let kind = fs.split(' ').next()?;
    Some(format!("{kind} on {point}"))
}
