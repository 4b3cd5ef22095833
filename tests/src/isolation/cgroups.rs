//! Control groups of the bed: one in each hierarchy of the host, which the bed
//! sees as the hierarchy's root.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

const ROOT: &str = "/sys/fs/cgroup";

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    point: PathBuf,
    /// `cgroup` (v1) or `cgroup2`.
    kind: String,
    /// What it was mounted with: names of v1 controllers.
    options: String,
}

impl Hierarchy {
    fn is_unified(&self) -> bool {
        self.kind == "cgroup2"
    }

    fn controls(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }
}

/// Every hierarchy under [`ROOT`], in the order of mounting.
pub(super) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("list the host's mounts")?;
    Ok(table.lines().filter_map(hierarchy).collect())
}

/// One line of mountinfo (`man 5 proc`): six fields, optional ones, `-`, then
/// type, source and options of the file system.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, fs) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    let mut fs = fs.split(' ');
    let kind = fs.next()?;
    let options = fs.nth(1)?;
    if !kind.starts_with("cgroup") || !Path::new(point).starts_with(ROOT) {
        return None;
    }
    Some(Hierarchy {
        point: point.into(),
        kind: kind.to_owned(),
        options: v1_options(options),
    })
}

/// Options that choose a v1 hierarchy, without those of every mount.
fn v1_options(options: &str) -> String {
    let general = [
        "rw",
        "ro",
        "nsdelegate",
        "memory_recursiveprot",
        "clone_children",
        "xattr",
    ];
    let chosen = options
        .split(',')
        .filter(|option| !general.contains(option) && !option.starts_with("release_agent"));
    chosen.collect::<Vec<_>>().join(",")
}

/// The bed's groups; dropped, they are removed with all below them.
pub(super) struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    /// Makes a group `name` in every hierarchy.
    pub(super) fn make(name: &str) -> Result<Self> {
        let mut made = Self(Vec::new());
        for hierarchy in hierarchies()? {
            let group = hierarchy.point.join(name);
            fs::create_dir(&group)
                .with_context(|| format!("make control group {}", group.display()))?;
            made.0.push(group.clone());
            if hierarchy.controls("cpuset") {
                inherit_cpuset(&group)?;
            }
        }
        Ok(made)
    }

    /// The groups for [`join`], through the environment.
    pub(super) fn to_env(&self) -> OsString {
        let paths: Vec<_> = self.0.iter().map(|path| path.as_os_str()).collect();
        paths.join(OsStr::new(":"))
    }
}

/// A new v1 cpuset has neither CPUs nor memory, and takes no process so.
fn inherit_cpuset(group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let parent = group.parent().unwrap_or(group).join(file);
        fs::read(parent)
            .and_then(|value| fs::write(group.join(file), value))
            .with_context(|| format!("set {file} of {}", group.display()))?;
    }
    Ok(())
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for group in &self.0 {
            if let Err(error) = remove_tree(group) {
                eprintln!("the bed's control group {} stays: {error}", group.display());
            }
        }
    }
}

/// Removes `group` after all below it. Processes that were just killed leave
/// their groups a moment later, so `EBUSY` is tried again for a while.
fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        match fs::remove_dir(group) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// Puts the calling process into `groups`, as [`Cgroups::to_env`] wrote them.
pub(super) fn join(groups: &OsStr) -> Result<()> {
    for group in std::env::split_paths(groups) {
        fs::write(group.join("cgroup.procs"), "0")
            .with_context(|| format!("enter control group {}", group.display()))?;
    }
    Ok(())
}

/// Mounts the same hierarchies again. In a namespace of control groups their
/// roots are then the bed's own groups.
pub(super) fn mount_all(hierarchies: &[Hierarchy]) -> Result<()> {
    if !hierarchies.iter().any(|one| one.point == Path::new(ROOT)) {
        super::mounts::new("tmpfs", ROOT, "mode=755")?;
    }
    for one in hierarchies {
        fs::create_dir_all(&one.point)
            .and_then(|()| mount_one(one).map_err(io::Error::from))
            .with_context(|| format!("mount {} on {}", one.kind, one.point.display()))?;
    }
    pass_huge_pages_on(hierarchies)
}

/// containerd tells a runtime of limits on huge pages where it finds the folder of
/// v1's controller. That of a host without is no matter to a VM.
fn pass_huge_pages_on(hierarchies: &[Hierarchy]) -> Result<()> {
    if hierarchies.iter().any(|one| one.point == Path::new(ROOT)) {
        return Ok(());
    }
    fs::create_dir_all(Path::new(ROOT).join("hugetlb"))
        .context("make a folder in the place of the controller hugetlb")
}

fn mount_one(one: &Hierarchy) -> nix::Result<()> {
    let options = (!one.is_unified()).then_some(one.options.as_str());
    let kind = Some(one.kind.as_str());
    mount(kind, &one.point, kind, MsFlags::empty(), options)
}

/// A unified hierarchy at the root of all has the controllers. They can be
/// handed down only from a group without processes, so ours move one down.
pub(super) fn delegate() -> Result<()> {
    let root = Path::new(ROOT);
    let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) else {
        return Ok(());
    };
    let init = root.join("init");
    fs::create_dir(&init).context("make a control group for the bed's own processes")?;
    fs::write(init.join("cgroup.procs"), "0").context("enter the bed's own control group")?;
    let all: String = controllers
        .split_whitespace()
        .map(|c| format!("+{c} "))
        .collect();
    fs::write(root.join("cgroup.subtree_control"), all.trim())
        .context("hand controllers down in the bed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_and_v2_hierarchies_are_found() {
        let v1 =
            hierarchy("29 25 0:25 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct");
        let v1 = v1.unwrap();
        assert_eq!(
            (v1.options.as_str(), v1.is_unified()),
            ("cpu,cpuacct", false)
        );
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert!(hierarchy(v2).unwrap().is_unified());
    }

    #[test]
    fn a_named_hierarchy_keeps_its_name() {
        let line = "37 25 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        assert_eq!(hierarchy(line).unwrap().options, "name=systemd");
    }

    #[test]
    fn other_mounts_are_none() {
        assert_eq!(
            hierarchy("22 1 254:0 / / rw,relatime - ext4 /dev/root rw"),
            None
        );
        assert_eq!(hierarchy("22 1 0:5 / /mnt rw - cgroup2 none rw"), None);
    }
}
