//! File systems of the guest. Containers mount their own `/proc`, `/dev/pts`
//! and the like; here is what the agent and libcontainer work with. Each mount
//! is copied with every container's mount namespace, so there are few.

use std::ffi::CString;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount, mount_bind, mount_move};

use super::InitError;

const NOTHING: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NODEV);

const MOUNTS: [(&str, &str, MountFlags, &str); 5] = [
    ("proc", "/proc", NOTHING, ""),
    ("sysfs", "/sys", NOTHING, ""),
    ("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755"),
    // `favordynmods`: moving a process into a container's cgroup must not wait
    // for an RCU grace period, which is tens of milliseconds.
    (
        "cgroup2",
        "/sys/fs/cgroup",
        NOTHING,
        "nsdelegate,memory_recursiveprot,favordynmods",
    ),
    ("tmpfs", "/run", NOTHING, "mode=0755"),
];

/// Bind-mounts the root over itself. The initial ramfs has no parent mount,
/// and `pivot_root(2)` refuses to leave such a root; its bind mount has one.
/// Unlike a switch to a new tmpfs, nothing is copied.
pub(super) fn make_root_pivotable() -> Result<(), InitError> {
    let steps = || -> io::Result<()> {
        create_dir("/run")?;
        mount_bind("/", "/run")?;
        rustix::process::chdir("/run")?;
        mount_move(".", "/")?;
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")?;
        Ok(())
    };
    steps().map_err(InitError::Root)
}

/// Mounts everything in the table.
pub(super) fn mount_all() -> Result<(), InitError> {
    for (fstype, target, flags, data) in MOUNTS {
        mount_one(fstype, target, flags, data).map_err(|source| InitError::Mount {
            fstype,
            target: target.into(),
            source,
        })?;
    }
    Ok(())
}

fn mount_one(fstype: &str, target: &str, flags: MountFlags, data: &str) -> io::Result<()> {
    create_dir(target)?;
    let data = CString::new(data)?;
    mount(fstype, target, fstype, flags, data.as_c_str())?;
    Ok(())
}

fn create_dir(path: &str) -> io::Result<()> {
    if Path::new(path).is_dir() {
        return Ok(());
    }
    std::fs::create_dir(path)
}
