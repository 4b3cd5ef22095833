//! How much memory the groups above the sandbox's allow.

use std::fs;
use std::path::{Path, PathBuf};

use super::hierarchy::Hierarchy;
use super::path::GroupPath;

/// The least limit of all groups above: kubelet has one for the pod and one for
/// all pods. It may change at any time.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    files: Vec<PathBuf>,
}

impl MemoryLimit {
    /// Of the groups above `path`.
    pub(super) fn above(hierarchies: &[Hierarchy], path: &GroupPath) -> Self {
        let files = hierarchies.iter().flat_map(|one| {
            let groups = path.above(one.mount_point());
            let name = file(one);
            groups.filter_map(move |group| Some(group.join(name?)))
        });
        Self::of_files(files.collect())
    }

    pub(super) fn of_files(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// Bytes now; `None` for no limit.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.files.iter().filter_map(|file| read(file)).min()
    }
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
    fn the_least_counts_and_no_limit_is_written_in_two_ways() {
        let folder = tempfile::tempdir().unwrap();
        let least = |limits: [&str; 2]| {
            let files = limits.iter().enumerate().map(|(number, text)| {
                let file = folder.path().join(number.to_string());
                fs::write(&file, text).unwrap();
                file
            });
            MemoryLimit::of_files(files.collect()).bytes()
        };
        assert_eq!(least(["max\n", "9223372036854771712\n"]), None);
        assert_eq!(least(["max\n", "104857600\n"]), Some(104_857_600));
        assert_eq!(least(["1048576\n", "104857600\n"]), Some(1_048_576));
    }
}
