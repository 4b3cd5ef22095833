//! Joining the container's cgroup.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{ExecError, Result};

const MOUNT: &str = "/sys/fs/cgroup";

/// Joins `cgroup`, the container's; `proc` is its first process's in `/proc`.
///
/// A container that manages cgroups itself (Docker in Docker, systemd, k3s) has
/// moved its processes into one below: the kernel allows none beside children
/// that have controllers ("No Internal Process Constraint" of its documentation).
/// The exec goes where the first process is, as under runc.
pub(super) fn join(cgroup: &Path, proc: &Path) -> Result<()> {
    let joined = match enter(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            below(cgroup, proc).map_or(Err(error), |own| enter(&own))
        }
        joined => joined,
    };
    joined.map_err(|error| ExecError::Step("join the container's cgroup", error))
}

fn enter(cgroup: &Path) -> io::Result<()> {
    std::fs::write(cgroup.join("cgroup.procs"), "0")
}

/// The cgroup below `cgroup` that the process of `proc` is in. The container
/// chooses its name, so never one that could lead out.
fn below(cgroup: &Path, proc: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(proc.join("cgroup")).ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = Path::new(MOUNT).join(name);
    let mut inner = path.strip_prefix(cgroup).ok()?.components();
    let first = inner.next();
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    (first.is_some_and(plain) && inner.all(plain)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Option<PathBuf> {
        let proc = tempfile::tempdir().unwrap();
        std::fs::write(proc.path().join("cgroup"), line).unwrap();
        below(Path::new("/sys/fs/cgroup/pod/c"), proc.path())
    }

    #[test]
    fn the_first_processs_cgroup_is_found_below_the_containers() {
        let expected = |path| Some(PathBuf::from(path));
        assert_eq!(
            found("0::/pod/c/init\n"),
            expected("/sys/fs/cgroup/pod/c/init")
        );
        assert_eq!(
            found("1:net_cls:/x\n0::/pod/c/a/..b\n"),
            expected("/sys/fs/cgroup/pod/c/a/..b")
        );
    }

    #[test]
    fn no_other_cgroup_is_joined() {
        for line in [
            "0::/pod/c\n",
            "0::/pod/cc\n",
            "0::/pod/d/init\n",
            "0::/pod/c/../d\n",
            "0::/pod/c/a/../../d\n",
            "0::/../pod/c/a\n",
            "0:://pod/c/a\n",
            "0::/\n",
            "",
        ] {
            assert_eq!(found(line), None, "{line:?}");
        }
    }
}
