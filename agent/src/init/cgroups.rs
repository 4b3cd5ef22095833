//! The cgroup tree: `/pod/<container>` with every controller at each level.

use std::path::Path;

use super::InitError;

/// Parent of the containers' cgroups.
pub(crate) const POD_CGROUP: &str = "/sys/fs/cgroup/pod";

/// Enables all controllers for the pod's cgroup and its children.
pub(super) fn prepare() -> Result<(), InitError> {
    let pod = Path::new(POD_CGROUP);
    let root = Path::new("/sys/fs/cgroup");
    enable(root)
        .and_then(|()| std::fs::create_dir(pod))
        .and_then(|()| enable(pod))
        .map_err(|source| InitError::Controllers {
            path: pod.into(),
            source,
        })
}

fn enable(cgroup: &Path) -> std::io::Result<()> {
    let available = std::fs::read_to_string(cgroup.join("cgroup.controllers"))?;
    std::fs::write(cgroup.join("cgroup.subtree_control"), enabling(&available))
}

/// `cpu memory` becomes `+cpu +memory`.
fn enabling(available: &str) -> String {
    let words: Vec<_> = available
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::enabling;

    #[test]
    fn every_controller_is_enabled() {
        assert_eq!(enabling("cpuset cpu io\n"), "+cpuset +cpu +io");
    }
}
