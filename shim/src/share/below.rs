//! What is mounted below a volume on the host.
//!
//! In the guest such a mount appears when it is first walked into, with the
//! flags of the mount above it. Below a volume that is read-only, but not
//! recursively (`readOnly` without `recursiveReadOnly`), it has to be mounted
//! by itself to stay writable. Below one that is, it has to become read-only on
//! the host too: the guest's word is not enough.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::mountinfo::{self, Mounted};

/// More than this below one volume (the host's root, say) stay read-only: each
/// costs the guest a mount.
pub(crate) const MOST: usize = 32;

/// File systems of the host's kernel: nothing for a guest to write to.
const KERNELS: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Mount points below `source` that are not read-only, relative to it, those
/// above before those below.
pub(super) fn all(source: &Path) -> io::Result<Vec<PathBuf>> {
    let source = fs::canonicalize(source)?;
    Ok(points(&mountinfo::read()?, &source, |_| true))
}

/// As [`all`], without those that a guest has no use for.
pub(crate) fn writable(source: &Path) -> io::Result<Vec<PathBuf>> {
    let source = fs::canonicalize(source)?;
    Ok(points(&mountinfo::read()?, &source, useful))
}

fn useful(kind: &str) -> bool {
    !KERNELS.contains(&kind)
}

fn points(table: &[Mounted], source: &Path, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<_> = table
        .iter()
        .filter(|mounted| mounted.writable && wanted(&mounted.kind))
        .filter_map(|mounted| Some(mounted.point.strip_prefix(source).ok()?.to_owned()))
        .filter(|below| !below.as_os_str().is_empty())
        .collect();
    // A path sorts before those that it is the beginning of.
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 21 0:30 / /data/a\\040b rw shared:2 - tmpfs tmpfs rw
41 40 0:31 / /data/a\\040b/below rw,nosuid - tmpfs tmpfs rw
42 21 0:32 / /data/fixed ro - tmpfs tmpfs rw
43 21 0:33 / /data/proc rw - proc proc rw
44 21 0:34 / /database rw - tmpfs tmpfs rw
45 40 0:35 / /data/a\\040b rw - tmpfs tmpfs rw
";

    fn table() -> Vec<Mounted> {
        mountinfo::parse(TABLE)
    }

    #[test]
    fn what_can_be_written_to_is_found_once_and_in_order() {
        let found = points(&table(), Path::new("/data"), useful);
        assert_eq!(found, [Path::new("a b"), Path::new("a b/below")]);
    }

    #[test]
    fn a_volume_is_not_below_itself() {
        assert!(points(&table(), Path::new("/database"), useful).is_empty());
    }

    #[test]
    fn everything_is_below_the_root() {
        let found = points(&table(), Path::new("/"), useful);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(points(&table(), Path::new("/"), |_| true).len(), 4);
    }
}
