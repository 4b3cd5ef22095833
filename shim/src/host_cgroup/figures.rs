//! What all processes of a pod use together, as the host's kernel counts it for
//! their control group: the containers, and what their VM takes beside them.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::agent::ContainerStatsResponse;

use super::HostCgroup;

impl HostCgroup {
    /// In the form of a container's figures.
    pub(crate) fn figures(&self) -> ContainerStatsResponse {
        let groups: Vec<_> = self.places.iter().map(|place| &place.group).collect();
        of_groups(&groups)
    }
}

/// v2 has the files in one folder, v1 in that of each controller.
fn of_groups(groups: &[&PathBuf]) -> ContainerStatsResponse {
    let mut figures = ContainerStatsResponse::default();
    for group in groups {
        memory(group, &mut figures);
        cpu(group, &mut figures);
    }
    figures
}

fn memory(group: &Path, figures: &mut ContainerStatsResponse) {
    // The parts first: a group that grows meanwhile is not to seem less than they are.
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let used = ["memory.current", "memory.usage_in_bytes"];
    let Some(usage) = used.iter().find_map(|name| number(&group.join(name))) else {
        return;
    };
    let memory = figures.memory.mut_or_insert_default();
    memory.usage = usage;
    memory.limit = u64::MAX;
    for (ours, v1) in [
        ("anon", "total_rss"),
        ("file", "total_cache"),
        ("inactive_file", "total_inactive_file"),
    ] {
        // v1 has some of v2's names too, for the group without those below.
        let value = field(&stat, v1).or_else(|| field(&stat, ours));
        memory
            .stat
            .extend(value.map(|value| (ours.to_owned(), value)));
    }
}

fn cpu(group: &Path, figures: &mut ContainerStatsResponse) {
    let stat = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    let v1 = |name: &str| Some(number(&group.join(name))? / 1000);
    let usage = field(&stat, "usage_usec").or_else(|| v1("cpuacct.usage"));
    let Some(usage) = usage else {
        return;
    };
    let user = field(&stat, "user_usec").or_else(|| v1("cpuacct.usage_user"));
    let system = field(&stat, "system_usec").or_else(|| v1("cpuacct.usage_sys"));
    let cpu = figures.cpu.mut_or_insert_default();
    cpu.usage_usec = usage;
    cpu.user_usec = user.unwrap_or_default();
    cpu.system_usec = system.unwrap_or_default();
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The value of `key` in lines of `key value`.
fn field(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(files: &[(&str, &str)]) -> ContainerStatsResponse {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let folders = ["one", "two"].map(|name| folder.path().join(name));
        of_groups(&folders.each_ref())
    }

    fn summary(figures: &ContainerStatsResponse) -> (u64, u64, u64, Option<u64>) {
        let (cpu, memory) = (&figures.cpu, &figures.memory);
        let inactive = memory.stat.get("inactive_file").copied();
        (cpu.usage_usec, cpu.system_usec, memory.usage, inactive)
    }

    #[test]
    fn the_kernels_files_of_either_version_are_read() {
        let v2 = groups(&[
            ("one/memory.current", "4096\n"),
            ("one/memory.stat", "anon 1\nfile 2\ninactive_file 3\n"),
            (
                "one/cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\n",
            ),
        ]);
        assert_eq!(summary(&v2), (30, 10, 4096, Some(3)));
        let v1 = groups(&[
            ("one/cpuacct.usage", "30000\n"),
            ("one/cpuacct.usage_sys", "10000\n"),
            ("one/cpu.stat", "nr_periods 0\n"),
            ("two/memory.usage_in_bytes", "4096\n"),
            (
                "two/memory.stat",
                "inactive_file 0\ntotal_inactive_file 3\n",
            ),
        ]);
        assert_eq!(summary(&v1), summary(&v2));
    }
}
