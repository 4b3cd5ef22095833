//! Files of running things: sockets, bundles, leases, state.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::bed::Bed;

/// Made by the first pod and shared by all that follow.
const SHARED: &[&str] = &[
    "/run/cni",
    "/run/cni/bed",
    "/run/cni/bed/last_reserved_ip.0",
    "/run/cni/bed/last_reserved_ip.1",
    "/run/cni/bed/lock",
    "/run/cni/tuning",
    "/run/containerd",
    "/run/kata-mshv-vm-isolation",
    "/run/kata-mshv-vm-isolation/default",
    "/run/kata-mshv-vm-isolation/k8s.io",
    "/run/netns",
];

/// Every file and folder where containerd, its shims or CNI keep such, but not
/// containerd's database and images.
pub(super) fn list(bed: &Bed) -> Result<Vec<String>> {
    let root = bed.layout.root();
    let folders = [
        PathBuf::from("/run"),
        PathBuf::from("/dev/shm"),
        PathBuf::from("/var/lib/cni/results"),
        bed.layout.tmp(),
        bed.layout.state(),
        root.join("io.containerd.runtime.v2.task"),
        root.join("io.containerd.grpc.v1.cri/sandboxes"),
        root.join("io.containerd.grpc.v1.cri/containers"),
    ];
    let mut found = Vec::new();
    for folder in folders {
        walk(&folder, &mut found);
    }
    let shared = |path: &PathBuf| SHARED.iter().any(|shared| path == Path::new(shared));
    found.retain(|path| !shared(path) && !is_parent(bed, path));
    Ok(found
        .iter()
        .map(|path| path.display().to_string())
        .collect())
}

/// `<plugin>/<namespace or kind>`: containerd makes such folders and keeps them.
fn is_parent(bed: &Bed, path: &Path) -> bool {
    let below = |folder: PathBuf| {
        path.strip_prefix(folder)
            .map(|rest| rest.components().count())
    };
    let mut folders = [
        bed.layout.state(),
        bed.layout.root(),
        "/run/containerd".into(),
    ]
    .into_iter();
    folders.any(|folder| below(folder).is_ok_and(|depth| depth <= 2)) && path.is_dir()
}

/// All below `folder`; what vanishes meanwhile is not there.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
        found.push(entry.path());
    }
}
