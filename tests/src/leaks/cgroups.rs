//! Control groups of the bed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// containerd's namespaces and kubelet's root, which stay once made.
const PARENTS: &[&str] = &["default", "k8s.io", "kubepods"];

/// Every group below the roots of the hierarchies, without those parents.
pub(super) fn list() -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &mut found);
    found.retain(|path| !is_parent(path));
    Ok(found
        .iter()
        .map(|path| path.display().to_string())
        .collect())
}

fn is_parent(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| PARENTS.contains(&name))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
            found.push(entry.path());
        }
    }
}
