//! Mounts on which files belong to others than on disk (idmapped mounts,
//! mount_setattr(2)): what is root's there is the pod's root's here.
//!
//! For a pod with a user namespace. The guest sees the numbers as they are outside
//! of that namespace, and so does the virtio-fs process, which acts for the guest:
//! the file system has to translate them, and only the host's can.
#![allow(unsafe_code, reason = "fork and mount_setattr have no safe wrapper")]

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::mount::number;
use crate::ids::IdMap;

/// Mounts `source`, with what is below it, on `target`; the ids of `source` itself
/// are mapped by `ids`.
pub(super) fn bind(source: &Path, target: &Path, ids: &IdMap) -> nix::Result<()> {
    let namespace = user_namespace(ids)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags)
        .map_err(io::Error::from)
        .map_err(number)?;
    map(&tree, &namespace)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree, "", CWD, target, flags)
        .map_err(io::Error::from)
        .map_err(number)
}

/// Only the kernel's word on one mount: EINVAL where its file system cannot.
fn map(tree: &OwnedFd, namespace: &File) -> nix::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_raw_fd()).map_err(|_| Errno::EBADF)?,
    };
    // SAFETY: the kernel reads a `struct mount_attr` of the size that is given, and
    // the path is the empty string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(answer).map(drop)
}

/// A user namespace with the map `ids`, in which nobody is.
fn user_namespace(ids: &IdMap) -> nix::Result<File> {
    let (ready, tell) = io::pipe().map_err(number)?;
    let (go, done) = io::pipe().map_err(number)?;
    // SAFETY: the new process, the copy of one thread of several, makes system
    // calls only, until it ends.
    match unsafe { fork() }? {
        ForkResult::Child => stay([ready.as_raw_fd(), done.as_raw_fd()], &tell, &go),
        ForkResult::Parent { child } => {
            drop(tell);
            let opened = arrived(&ready).and_then(|()| open(child, ids));
            drop(done);
            // It ends by itself now.
            let _ = waitpid(child, None);
            opened
        }
    }
}

/// The namespace's one process, until the other end of `go` is closed.
fn stay(others: [i32; 2], tell: &impl AsRawFd, go: &impl AsRawFd) -> ! {
    let result = unshare(CloneFlags::CLONE_NEWUSER);
    // Numbers of errors are below 256 (errno(3)).
    let byte = [result
        .err()
        .map_or(0, |error| (error as i32).to_le_bytes()[0])];
    let mut nothing = [0_u8];
    // SAFETY: buffers of one byte; the descriptors are this process's own copies.
    unsafe {
        for other in others {
            libc::close(other);
        }
        libc::write(tell.as_raw_fd(), byte.as_ptr().cast(), 1);
        libc::read(go.as_raw_fd(), nothing.as_mut_ptr().cast(), 1);
        libc::_exit(0)
    }
}

fn arrived(mut ready: &io::PipeReader) -> nix::Result<()> {
    let mut failed = [0];
    io::Read::read_exact(&mut ready, &mut failed).map_err(number)?;
    match failed {
        [0] => Ok(()),
        [error] => Err(Errno::from_raw(error.into())),
    }
}

fn open(first: Pid, ids: &IdMap) -> nix::Result<File> {
    let proc = Path::new("/proc").join(first.to_string());
    let steps = || -> io::Result<File> {
        for (file, map) in ids.files() {
            std::fs::write(proc.join(file), map)?;
        }
        File::open(proc.join("ns/user"))
    };
    steps().map_err(number)
}
