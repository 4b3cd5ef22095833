//! Network interfaces of the bed itself. Those of a pod are in its network
//! namespace, which shows as a mount and a file.

use std::fs;

use anyhow::{Context, Result};

use crate::bed::BRIDGE;

/// Names of all but the bridge, which the first pod makes and all share.
pub(super) fn list() -> Result<Vec<String>> {
    let entries = fs::read_dir("/sys/class/net").context("list interfaces")?;
    Ok(entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != BRIDGE)
        .collect())
}
