//! Facts about this host.

use std::fs;
use std::thread::available_parallelism;

use crate::manifest::to_cri::Node;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// systemd-resolved's real list, where resolv.conf names its stub, which
/// listens on the host's loopback and is not reached from a pod.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
const RESOLVED_STUB: &str = "nameserver 127.0.0.53";

/// What manifests and messages need to know about this host. What cannot be
/// read is left empty: it only matters to a pod that refers to it.
#[must_use]
pub fn this_node() -> Node {
    let cpus = available_parallelism().map_or(1, usize::from);
    Node {
        name: read("/proc/sys/kernel/hostname").trim().to_owned(),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory: memory(&read("/proc/meminfo")),
        cgroup_v2: fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false),
        resolv_conf: resolv_conf(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Bytes of `MemTotal`.
fn memory(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn resolv_conf() -> String {
    let text = read(RESOLV_CONF);
    match text.contains(RESOLVED_STUB) {
        true => read(RESOLVED),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_counts_kibibytes() {
        assert_eq!(
            memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            16 << 20
        );
        assert_eq!(memory(""), 0);
    }

    #[test]
    fn this_host_has_cpus_and_memory() {
        let node = this_node();
        assert!(node.cpus > 0 && node.memory > 0 && !node.name.is_empty());
    }
}
