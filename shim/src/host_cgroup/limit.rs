//! How much memory the groups above the sandbox's allow.

use std::fs;
use std::path::Path;

use super::hierarchy::Hierarchy;
use super::path::GroupPath;

/// Bytes; `None` for no limit. The least of all groups above counts: kubelet has
/// one for the pod and one for all pods.
pub(super) fn memory(hierarchies: &[Hierarchy], path: &GroupPath) -> Option<u64> {
    let limits = hierarchies.iter().filter_map(|one| {
        let file = file(one)?;
        let groups = path.above(one.mount_point());
        groups.filter_map(|group| read(&group.join(file))).min()
    });
    limits.min()
}

/// The file that has the limit.
fn file(hierarchy: &Hierarchy) -> Option<&'static str> {
    match hierarchy.is_unified() {
        true => Some("memory.max"),
        false => hierarchy
            .controls("memory")
            .then_some("memory.limit_in_bytes"),
    }
}

/// v2 writes `max` for none; v1 a number next to the greatest there is.
fn read(file: &Path) -> Option<u64> {
    let bytes = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_written_in_two_ways() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limit");
        let read_of = |text: &str| {
            fs::write(&file, text).unwrap();
            read(&file)
        };
        assert_eq!(read_of("max\n"), None);
        assert_eq!(read_of("9223372036854771712\n"), None);
        assert_eq!(read_of("104857600\n"), Some(104_857_600));
    }
}
