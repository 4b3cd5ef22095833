//! What the pod's control group allows in huge pages: kubelet writes there what
//! all containers of the pod may have together, and 0 for a pod without any.

use std::path::Path;

use super::GroupPath;
use super::hierarchy::{self, Hierarchy};
use crate::huge_pages::{HugePages, PageSize};

/// Of the group above `path`, a sandbox's; nothing where there is no limit, which
/// is not kubelet's word.
pub(crate) fn of_pod(path: &GroupPath) -> HugePages {
    // Whoever enters the group tells what is wrong with them.
    let hierarchies = hierarchy::mounted().unwrap_or_default();
    let limited = hierarchies.iter().find_map(|one| {
        let group = path.above(one.mount_point()).next()?;
        controller(one).map(|suffix| limits(&group, suffix))
    });
    limited.unwrap_or_default()
}

/// How the files end in a hierarchy with the controller: `hugetlb.2MB.max`.
fn controller(hierarchy: &Hierarchy) -> Option<&'static str> {
    match hierarchy.is_unified() {
        // The last of all: it has those that no hierarchy of v1 has.
        true => hierarchy
            .mount_point()
            .join("cgroup.controllers")
            .exists()
            .then_some("max"),
        false => hierarchy.controls("hugetlb").then_some("limit_in_bytes"),
    }
}

fn limits(group: &Path, suffix: &str) -> HugePages {
    HugePages::of(|size| limit(group, size, suffix).unwrap_or(0))
}

/// v2 writes `max` for none; v1 a number next to the greatest there is.
fn limit(group: &Path, size: &PageSize, suffix: &str) -> Option<u64> {
    let file = group.join(format!("hugetlb.{}.{suffix}", size.name));
    let bytes = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_huge_pages_are_its_limits() {
        let group = tempfile::tempdir().unwrap();
        let write = |file, text| std::fs::write(group.path().join(file), text).unwrap();
        write("hugetlb.2MB.max", "67108864\n");
        write("hugetlb.1GB.max", "max\n");
        let pages = limits(group.path(), "max");
        assert_eq!(
            (pages.in_pages_of(2 << 20), pages.bytes()),
            (64 << 20, 64 << 20)
        );
        write("hugetlb.2MB.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limits(group.path(), "limit_in_bytes"), HugePages::default());
    }
}
