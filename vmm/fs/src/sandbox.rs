//! A mount namespace whose root is the share.
//!
//! The `virtiofsd` crate has a sandbox too. It forks twice and leaves a parent
//! behind for the sake of a PID namespace; here one process stays one process,
//! for half the memory, and the PID namespace has no work: the system call
//! filter leaves no call that names another process.
//!
//! The parent's mount namespace is copied, and each mount in the copy becomes a
//! slave of its original: what the parent mounts under the share later appears
//! here, and nothing that happens here appears there. The parent should make
//! such mounts `nodev`, `nosuid` and `noexec`; that changes nothing for the
//! guest, which interprets device nodes and modes itself.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, pivot_root};
use rustix::mount::{OpenTreeFlags, open_tree};

/// Namespaces that the process leaves. The system call filter has no call for
/// System V IPC or the host name either; an own network namespace is left out
/// because there is none for sockets, and it would cost each pod 0.4 ms and
/// 200 KiB of kernel memory.
const LEFT_BEHIND: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS);

const NONE: Option<&str> = None;

/// Failures to confine the process to the share.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A step of the way in.
    #[error("{step} for the sandbox in {share}; the process must start as root")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// The directory to serve.
        share: PathBuf,
        /// Answer of the kernel.
        #[source]
        source: io::Error,
    },
    /// Mounts made later could not reach the sandbox.
    #[error("{share} is not on a shared mount; run `mount --make-shared` on it first")]
    NotShared {
        /// The directory to serve.
        share: PathBuf,
    },
}

/// Makes `share` the root directory of this process and returns
/// `/proc/self/fd` as a mount of its own, in which `..` leads nowhere.
///
/// # Errors
///
/// If the process lacks CAP_SYS_ADMIN, `share` is no directory, or `share` is
/// not on a shared mount.
pub(crate) fn enter(share: &Path) -> Result<File, Error> {
    let at = |step| move |source: Errno| failed(step, share, source);

    unshare(LEFT_BEHIND).map_err(at("leave the parent's namespaces"))?;
    mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)
        .map_err(at("make all mounts slaves"))?;
    let proc_self = open(
        "/proc/self",
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(at("open /proc/self"))?;
    let proc_self_fd = detached("/proc/self/fd").map_err(at("clone /proc/self/fd"))?;

    make_root(share).map_err(at("change the root directory"))?;
    forbid_devices().map_err(at("forbid devices"))?;
    if !is_slave(proc_self).map_err(|source| Error::Step {
        step: "read /proc/self/mountinfo",
        share: share.to_owned(),
        source,
    })? {
        let share = share.to_owned();
        return Err(Error::NotShared { share });
    }
    Ok(File::from(proc_self_fd))
}

fn failed(step: &'static str, share: &Path, source: Errno) -> Error {
    Error::Step {
        step,
        share: share.to_owned(),
        source: source.into(),
    }
}

/// A copy of the mount at `path` that is attached nowhere, so that its root has
/// no parent directory.
fn detached(path: &str) -> nix::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, path, flags).map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Pivots into `share`, which becomes a mount by being bound to itself, and
/// drops the old root with everything on it.
fn make_root(share: &Path) -> nix::Result<()> {
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(share), share, NONE, bind, NONE)?;
    chdir(share)?;
    // The old root is stacked on the new one, and then taken off.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

/// Makes the mounts that are there already useless for opening a device, though
/// the guest may create its node.
#[allow(unsafe_code, reason = "mount_setattr(2) has no safe wrapper yet")]
fn forbid_devices() -> nix::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a terminated string, and the kernel only reads
    // `attributes`, whose size is passed with it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(answer).map(drop)
}

/// Whether the root mount receives what happens at its original.
fn is_slave(proc_self: OwnedFd) -> io::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mountinfo = openat(proc_self.as_fd(), "mountinfo", flags, Mode::empty())?;
    let mut text = String::new();
    File::from(mountinfo).read_to_string(&mut text)?;
    Ok(root_is_slave(&text))
}

/// proc_pid_mountinfo(5): the fifth field is the mount point, and optional
/// fields follow the sixth up to a single dash.
fn root_is_slave(mountinfo: &str) -> bool {
    mountinfo
        .lines()
        .map(|line| line.split(' '))
        .filter(|fields| fields.clone().nth(4) == Some("/"))
        .any(|fields| {
            fields
                .skip(6)
                .take_while(|field| *field != "-")
                .any(|field| field.starts_with("master:"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLAVE: &str = "711 66 254:0 /pods/a / rw,nodev master:1 - ext4 /dev/vda rw";
    const ALONE: &str = "711 66 254:0 /pods/a / rw,nodev - ext4 /dev/vda rw,master:1";
    const BELOW: &str = "712 711 0:44 / /volume rw master:3 - tmpfs tmpfs rw";

    #[test]
    fn only_the_root_mount_counts() {
        assert!(root_is_slave(&format!("{SLAVE}\n{BELOW}\n")));
        assert!(!root_is_slave(&format!("{ALONE}\n{BELOW}\n")));
        assert!(!root_is_slave(""));
    }
}
