//! Namespaces of its own, and a root directory with nothing in it.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use super::{JailError, step};

/// Namespaces that the process leaves. The new network one has not even a
/// loopback interface that is up; taps that arrive open stay where they are.
const LEFT_BEHIND: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Where the new root is mounted until it is the root: a folder that every
/// host has, and that the process does not need.
const PLACE: &str = "/proc";

/// One inode, which is the root's own: nothing can be made in it, even by
/// somebody who got it writable.
const NO_ROOM: &str = "size=4k,nr_inodes=1,mode=0555";

const NONE: Option<&str> = None;

/// Leaves everything of the host's behind that has a name.
pub(super) fn leave_host() -> Result<(), JailError> {
    unshare(LEFT_BEHIND).map_err(step("leave the host's namespaces"))?;
    // Nothing that happens to the copies of the host's mounts happens there.
    mount(NONE, "/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)
        .map_err(step("make all mounts private"))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(NONE, PLACE, Some("tmpfs"), flags, Some(NO_ROOM)).map_err(step("mount an empty root"))?;
    change_root().map_err(step("change the root directory"))
}

/// Stacks the old root on the new one, and takes it off with all below it.
fn change_root() -> nix::Result<()> {
    chdir(PLACE)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}
