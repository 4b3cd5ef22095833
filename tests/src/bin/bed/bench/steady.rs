//! What a pod at rest takes of the host's memory.

use std::{fmt, fs};

use anyhow::{Context, Result};
use vmm_api::Pids;

/// Of one process, KiB.
pub(crate) struct Memory {
    process: &'static str,
    pss: u64,
    private: u64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            process,
            pss,
            private,
        } = self;
        write!(f, "{process:<12} {pss:>8} {private:>8}")
    }
}

/// Every process of the pod.
pub(crate) fn memory(pids: &Pids) -> Result<Vec<Memory>> {
    let processes = [
        ("shim", pids.shim),
        ("fs", pids.fs),
        ("vsock", pids.vsock),
        ("QEMU", pids.vmm),
    ];
    processes
        .map(|(name, pid)| of(name, pid))
        .into_iter()
        .collect()
}

fn of(process: &'static str, pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let table = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let sum = |names: &[&str]| names.iter().map(|name| field(&table, name)).sum();
    Ok(Memory {
        process,
        pss: sum(&["Pss"]),
        private: sum(&["Private_Clean", "Private_Dirty"]),
    })
}

/// KiB of the line `name:`.
fn field(table: &str, name: &str) -> u64 {
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let table = "Pss_Dirty:   5 kB\nPss:        7 kB\n";
        assert_eq!((field(table, "Pss"), field(table, "Rss")), (7, 0));
    }
}
