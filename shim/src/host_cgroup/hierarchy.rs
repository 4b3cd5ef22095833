//! The hierarchies that the host has: one (cgroup v2), or one for each set of
//! controllers (v1), or both. cgroups(7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    mount_point: PathBuf,
    /// Names of the controllers of a v1 hierarchy; `None` for v2.
    controllers: Option<Vec<String>>,
    /// The group that this process is in.
    origin: PathBuf,
}

/// Every hierarchy, each once.
pub(super) fn mounted() -> io::Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    Ok(listed(&mounts, &groups))
}

fn listed(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    let memberships = groups.lines().filter_map(membership);
    for (controllers, group) in memberships {
        let mount = mounts.lines().find_map(|line| mount(line, &controllers));
        let Some(mount_point) = mount else {
            continue;
        };
        let v2 = controllers.is_empty();
        let names = controllers.split(',').map(str::to_owned);
        found.push(Hierarchy {
            origin: mount_point.join(group.trim_start_matches('/')),
            mount_point,
            controllers: (!v2).then(|| names.collect()),
        });
    }
    found
}

/// A line of /proc/self/cgroup, `number:controllers:group`; v2 has no controllers.
fn membership(line: &str) -> Option<(String, &str)> {
    let mut fields = line.splitn(3, ':').skip(1);
    Some((fields.next()?.to_owned(), fields.next()?))
}

/// Where the line of mountinfo mounts the hierarchy of `controllers` (proc(5):
/// six fields, optional ones, `-`, then type, source and options).
fn mount(line: &str, controllers: &str) -> Option<PathBuf> {
    let (mount, system) = line.split_once(" - ")?;
    let mount_point = mount.split(' ').nth(4)?;
    let mut system = system.split(' ');
    let kind = system.next()?;
    let options = system.nth(1)?;
    let has = |name: &str| options.split(',').any(|option| option == name);
    let right = match controllers {
        "" => kind == "cgroup2",
        some => kind == "cgroup" && some.split(',').all(has),
    };
    right.then(|| mount_point.into())
}

impl Hierarchy {
    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The group that this process was in.
    pub(super) fn origin(&self) -> &Path {
        &self.origin
    }

    /// Whether it is v2's, which has every controller.
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_none()
    }

    pub(super) fn controls(&self, controller: &str) -> bool {
        let names = self.controllers.iter().flatten();
        names.into_iter().any(|name| name == controller)
    }

    /// Makes `group`, and those above it that are missing.
    pub(super) fn make(&self, group: &Path) -> io::Result<()> {
        let below_root = |path: &&Path| *path != self.mount_point;
        let mut path: Vec<_> = group.ancestors().take_while(below_root).collect();
        path.reverse();
        for one in path {
            match fs::create_dir(one) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.complete(one)?,
            }
            if self.is_unified() && one != group {
                hand_down_memory(one);
            }
        }
        Ok(())
    }

    /// A new v1 cpuset has neither processors nor memory, and takes no process
    /// so; whoever made those above may not have minded.
    fn complete(&self, group: &Path) -> io::Result<()> {
        if !self.controls("cpuset") {
            return Ok(());
        }
        let parent = group.parent().unwrap_or(group);
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let file = group.join(name);
            // A file that cannot be read has no value that could be kept.
            let empty = fs::read(&file).unwrap_or_default().trim_ascii().is_empty();
            if empty {
                fs::write(file, fs::read(parent.join(name))?)?;
            }
        }
        Ok(())
    }
}

/// Has the kernel count memory for each group below `group` (cgroup-v2.rst, "Enabling
/// and Disabling"): whoever made it for a pod may have limited it alone. Where it
/// refuses, as processes are in the group, the pod has no figures and all else.
fn hand_down_memory(group: &Path) {
    let control = group.join("cgroup.subtree_control");
    // The kernel waits for groups that are going before it takes a word.
    let handed = fs::read_to_string(&control).unwrap_or_default();
    if handed.split_whitespace().any(|name| name == "memory") {
        return;
    }
    if let Err(error) = fs::write(control, "+memory") {
        tracing::debug!(group = %group.display(), %error, "count the memory of a pod");
    }
}

/// Moves this process, all its threads, into `group`.
pub(super) fn join(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn each_membership_is_found_where_it_is_mounted() {
        let groups = "3:cpu,cpuacct:/a\n2:memory:/a\n1:name=systemd:/\n0::/b\n";
        let found = listed(V1, groups);
        let origins: Vec<_> = found.iter().map(|one| one.origin().to_owned()).collect();
        // Memory's is not mounted: nothing can be limited there.
        let expected = ["cpu,cpuacct/a", "systemd/", "unified/b"];
        assert_eq!(
            origins,
            expected.map(|path| Path::new("/sys/fs/cgroup").join(path))
        );
        assert!(found[0].controls("cpuacct") && !found[0].is_unified());
        assert!(found[2].is_unified());
    }

    #[test]
    fn memory_is_counted_for_the_last_group_of_v2() {
        let root = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy {
            mount_point: root.path().into(),
            controllers: None,
            origin: root.path().into(),
        };
        let pod = root.path().join("kubepods/pod");
        hierarchy.make(&pod.join("s")).unwrap();
        for group in ["kubepods", "kubepods/pod"] {
            let control = root.path().join(group).join("cgroup.subtree_control");
            assert_eq!(fs::read(control).unwrap(), b"+memory", "{group}");
        }
        assert_eq!(fs::read_dir(pod.join("s")).unwrap().count(), 0);
    }

    #[test]
    fn a_cpuset_is_inherited_from_group_to_group() {
        let root = tempfile::tempdir().unwrap();
        for (file, value) in [("cpuset.cpus", "0-3"), ("cpuset.mems", "0")] {
            fs::write(root.path().join(file), value).unwrap();
        }
        let hierarchy = Hierarchy {
            mount_point: root.path().into(),
            controllers: Some(vec!["cpuset".to_owned()]),
            origin: root.path().into(),
        };
        let pod = root.path().join("pod");
        fs::create_dir(&pod).unwrap();
        fs::write(pod.join("cpuset.cpus"), "1\n").unwrap();
        fs::write(pod.join("cpuset.mems"), "\n").unwrap();
        let group = pod.join("s");
        hierarchy.make(&group).unwrap();
        hierarchy.make(&group).unwrap();
        assert_eq!(fs::read(group.join("cpuset.cpus")).unwrap(), b"1\n");
        assert_eq!(fs::read(group.join("cpuset.mems")).unwrap(), b"0");
    }
}
