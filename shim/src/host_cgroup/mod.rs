//! The pod's control group on the host: every process of the sandbox is in it.
//!
//! containerd names the group in the sandbox's spec (`linux.cgroupsPath`, OCI
//! runtime spec, "Cgroups path"), below the one that kubelet has made for the
//! pod and given its limits. The shim enters it before it starts anything, and
//! what it starts inherits it: nothing of a pod is ever outside. At the end it
//! goes back to where it came from, since a group with a process in it cannot be
//! removed.

mod figures;
mod hierarchy;
mod huge_pages;
mod limit;
mod path;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;

use hierarchy::Hierarchy;
pub(crate) use huge_pages::of_pod as huge_pages_of_pod;
use limit::MemoryLimit;
pub(crate) use path::{GroupPath, PathError};

/// How long processes that were killed may take to leave their group.
const LEAVING: Duration = Duration::from_secs(1);

/// The kernel did not do to a control group what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("find the host's control groups")]
    Hierarchies {
        #[source]
        source: io::Error,
    },
    #[error("make the pod's control group {}", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("enter the pod's control group {}", path.display())]
    Enter {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the pod's control group on the host allows {allowed} MiB of memory, and a VM takes \
         {overhead} MiB beside its containers: set overhead.podFixed.memory of the RuntimeClass \
         to that at least"
    )]
    TooSmall { allowed: u64, overhead: u64 },
    #[error(
        "the pod's control group on the host allows {allowed} MiB of memory, of which a VM takes \
         {overhead} MiB beside its containers, and {pages} MiB in huge pages are memory like any \
         other there: raise the containers' memory limits by their huge pages"
    )]
    HugePages {
        allowed: u64,
        overhead: u64,
        pages: u64,
    },
}

/// The group, and this process in it. Dropped, both are over.
#[derive(Debug)]
pub(crate) struct HostCgroup {
    places: Vec<Place>,
    /// What the groups above allow.
    memory: MemoryLimit,
}

/// The group in one hierarchy.
#[derive(Debug)]
struct Place {
    group: PathBuf,
    /// Where this process was before.
    origin: PathBuf,
}

impl HostCgroup {
    /// Makes the group, and moves this process into it. Takes some 10 ms, which
    /// the kernel waits for all processors to have noticed.
    pub(crate) fn enter(path: &GroupPath) -> Result<Self, CgroupError> {
        let hierarchies =
            hierarchy::mounted().map_err(|source| CgroupError::Hierarchies { source })?;
        let mut entered = Self {
            memory: MemoryLimit::above(&hierarchies, path),
            places: Vec::new(),
        };
        for one in hierarchies {
            entered.enter_one(&one, path)?;
        }
        Ok(entered)
    }

    fn enter_one(&mut self, hierarchy: &Hierarchy, path: &GroupPath) -> Result<(), CgroupError> {
        let group = path.below(hierarchy.mount_point());
        hierarchy.make(&group).map_err(|source| CgroupError::Make {
            path: group.clone(),
            source,
        })?;
        let origin = hierarchy.origin().to_owned();
        // From here on it is to be removed, whatever comes.
        self.places.push(Place {
            group: group.clone(),
            origin,
        });
        hierarchy::join(&group).map_err(|source| CgroupError::Enter {
            path: group,
            source,
        })
    }

    /// What the pod's containers may take of the host's memory together, in
    /// bytes, where a VM has `overhead` MiB of its own and they have `huge_pages`
    /// bytes already; `None` for no bound.
    pub(crate) fn for_containers(
        &self,
        overhead: u32,
        huge_pages: u64,
    ) -> Result<Option<u64>, CgroupError> {
        let Some(memory) = self.memory.bytes() else {
            return Ok(None);
        };
        let (allowed, overhead) = (memory >> 20, u64::from(overhead));
        let for_all = memory.saturating_sub(overhead << 20);
        match for_all.saturating_sub(huge_pages) {
            0 if for_all == 0 => Err(CgroupError::TooSmall { allowed, overhead }),
            0 => Err(CgroupError::HugePages {
                allowed,
                overhead,
                pages: huge_pages >> 20,
            }),
            rest => Ok(Some(rest)),
        }
    }
}

impl Drop for HostCgroup {
    fn drop(&mut self) {
        for place in &self.places {
            if let Err(error) = hierarchy::join(&place.origin) {
                tracing::warn!(group = %place.origin.display(), %error, "cannot go back");
            }
        }
        remove_all(self.places.iter().map(|place| place.group.as_path()));
    }
}

/// Removes the group of a sandbox whose shim died, all of whose processes died
/// with it.
pub(crate) fn remove(spec: &Spec) {
    let (Ok(Some(path)), Ok(hierarchies)) = (GroupPath::of(spec), hierarchy::mounted()) else {
        return;
    };
    let groups: Vec<_> = hierarchies
        .iter()
        .map(|one| path.below(one.mount_point()))
        .collect();
    remove_all(groups.iter().map(PathBuf::as_path));
}

fn remove_all<'a>(groups: impl Iterator<Item = &'a Path>) {
    let deadline = Instant::now() + LEAVING;
    for group in groups {
        if let Err(error) = remove_group(group, deadline) {
            tracing::warn!(group = %group.display(), %error, "the pod's control group stays");
        }
    }
}

fn remove_group(group: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match std::fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a VM leaves that takes 160 MiB and `pages` in huge pages, in a group
    /// that allows `memory`.
    fn left(memory: &str, pages: u64) -> Result<Option<u64>, CgroupError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.max");
        std::fs::write(&file, memory).unwrap();
        let group = HostCgroup {
            places: Vec::new(),
            memory: MemoryLimit::of_files(vec![file]),
        };
        group.for_containers(160, pages)
    }

    #[test]
    fn containers_have_what_the_vm_leaves() {
        assert_eq!(left("max", 1 << 30).unwrap(), None);
        assert_eq!(left("272629760", 0).unwrap(), Some(100 << 20));
        assert_eq!(left("272629760", 64 << 20).unwrap(), Some(36 << 20));
    }

    #[test]
    fn huge_pages_that_leave_nothing_are_refused() {
        let text = left("272629760", 100 << 20).unwrap_err().to_string();
        assert!(
            text.contains("allows 260 MiB") && text.contains("100 MiB in huge pages"),
            "{text}"
        );
    }

    #[test]
    fn a_group_in_which_no_vm_fits_is_refused() {
        let text = left("104857600", 0).unwrap_err().to_string();
        assert!(
            text.contains("allows 100 MiB") && text.contains("takes 160 MiB"),
            "{text}"
        );
    }

    #[test]
    fn a_group_that_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        remove_group(&folder.path().join("none"), Instant::now()).unwrap();
    }
}
