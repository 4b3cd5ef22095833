//! What containers and VMs need of the host's kernel: overlayfs, cgroups,
//! memory.

use std::fs;

use config::Config;

use super::Finding;

/// Controllers that limits of pods rest on.
const CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    vec![
        overlayfs(&read("/proc/filesystems")),
        cgroups(unified.as_deref(), &read("/proc/cgroups")),
        memory(
            &read("/proc/meminfo"),
            u64::from(config.guest.default_memory_mib),
        ),
    ]
}

fn overlayfs(filesystems: &str) -> Finding {
    const SUBJECT: &str = "overlayfs";
    let known = filesystems
        .lines()
        .any(|line| line.split_whitespace().last() == Some("overlay"));
    match known {
        true => Finding::ok(SUBJECT, "the kernel has it"),
        false => Finding::warn(
            SUBJECT,
            "the kernel has not loaded it; containerd's default snapshotter needs it",
            "load the module overlay, or configure another snapshotter",
        ),
    }
}

/// `unified` lists the controllers of the unified hierarchy, where that is what
/// is mounted; `legacy` is `/proc/cgroups`.
fn cgroups(unified: Option<&str>, legacy: &str) -> Finding {
    const SUBJECT: &str = "cgroups";
    let (version, controllers) = match unified {
        Some(list) => (2, list.split_whitespace().collect::<Vec<_>>()),
        None => (1, enabled(legacy)),
    };
    let found = format!("version {version}, controllers {}", controllers.join(" "));
    let lacks = |name: &&&str| !controllers.contains(name);
    let missing: Vec<_> = CONTROLLERS.iter().filter(lacks).copied().collect();
    match missing.is_empty() {
        true => Finding::ok(SUBJECT, found),
        false => Finding::warn(
            SUBJECT,
            format!(
                "{found}; without {} limits on the host have no effect",
                missing.join(", ")
            ),
            "boot the host with these controllers enabled",
        ),
    }
}

/// Names of `/proc/cgroups` whose last column is 1.
fn enabled(legacy: &str) -> Vec<&str> {
    let lines = legacy.lines().filter(|line| !line.starts_with('#'));
    let on = lines.filter(|line| line.split_whitespace().last() == Some("1"));
    on.filter_map(|line| line.split_whitespace().next())
        .collect()
}

fn memory(meminfo: &str, of_vm: u64) -> Finding {
    const SUBJECT: &str = "memory";
    let mib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    };
    let (total, available) = (mib("MemTotal:"), mib("MemAvailable:"));
    let found = format!("{available} MiB of {total} available; a VM may take {of_vm} MiB");
    match available < of_vm {
        true => Finding::warn(
            SUBJECT,
            format!("{found}, of which it uses what it touches"),
            "lower guest.default_memory_mib, or free memory",
        ),
        false => Finding::ok(SUBJECT, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level;

    #[test]
    fn overlayfs_is_a_whole_word() {
        assert_eq!(overlayfs("nodev\ttmpfs\nnodev\toverlay\n").level, Level::Ok);
        assert_eq!(overlayfs("nodev\toverlayfoo\n").level, Level::Warn);
    }

    #[test]
    fn both_versions_of_cgroups_are_understood() {
        let two = cgroups(Some("cpuset cpu io memory pids\n"), "");
        assert_eq!(
            (two.level, two.found.starts_with("version 2, ")),
            (Level::Ok, true)
        );
        let legacy = "#name\thier\tnum\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t0\npids\t3\t1\t1\n";
        let one = cgroups(None, legacy);
        assert_eq!(one.level, Level::Warn);
        assert!(
            one.found
                .starts_with("version 1, controllers cpu pids; without memory"),
            "{}",
            one.found
        );
    }

    #[test]
    fn memory_is_compared_with_a_vms() {
        let meminfo = "MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n";
        assert_eq!(memory(meminfo, 1024).level, Level::Ok);
        assert_eq!(memory(meminfo, 1025).level, Level::Warn);
    }
}
