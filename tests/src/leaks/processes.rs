//! Every process of the bed but containerd and the test itself.

use std::{fs, process};

use anyhow::{Context, Result};

use crate::bed::Bed;

/// `pid state command`, of every process in the bed's PID namespace: whatever
/// it is called and whoever started it.
pub(super) fn list(bed: &Bed) -> Result<Vec<String>> {
    let entries = fs::read_dir("/proc").context("list processes")?;
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let known = [Some(process::id()), bed.containerd_pid()];
    Ok(entries
        .flatten()
        .filter_map(pid)
        .filter(|pid| !known.contains(&Some(*pid)))
        .filter_map(describe)
        .collect())
}

/// `None` when it is gone meanwhile.
fn describe(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state ...`; the name may contain anything (`man 5 proc`).
    let (head, rest) = stat.rsplit_once(") ")?;
    let name = head.split_once('(')?.1;
    let state = rest.chars().next()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let text = if arguments.is_empty() {
        name
    } else {
        arguments.trim_end()
    };
    let short: String = text.chars().take(160).collect();
    Some(format!("{pid} {state} {short}"))
}
