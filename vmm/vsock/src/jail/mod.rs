//! Takes away from the process what it does not need, before any octet of the
//! guest or the VMM reaches it.
//!
//! [`Jail::enter`] runs while the process is single-threaded; the system call
//! filter ([`seccomp::confine`]) follows when all threads exist. What only root
//! can do is left out when the process is not root.

mod allocator;
pub mod seccomp;

use crate::state::limits::MAX_CONNECTIONS;
use caps::CapSet;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{
    Gid, Uid, UnlinkatFlags, chroot, fchdir, geteuid, mkdtemp, setgroups, setresgid, setresuid,
    unlinkat,
};
use std::path::Path;
use tracing::warn;

/// Descriptors that may be open: one for each connection, one for each that
/// waits for the shim, those of the guest's memory slots, and some.
const DESCRIPTORS: u64 = 2 * MAX_CONNECTIONS as u64 + 512 + 64;

/// A measure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// No empty root.
    #[error("cannot make an empty root directory in /run or /tmp")]
    Root(#[source] Errno),
    /// The user did not change.
    #[error("cannot become user {uid}, group {gid}")]
    User {
        /// Wanted user.
        uid: u32,
        /// Wanted group.
        gid: u32,
        /// Why.
        #[source]
        cause: Errno,
    },
    /// The capabilities stayed.
    #[error("cannot drop capabilities")]
    Capabilities(#[source] caps::errors::CapsError),
    /// A limit was not set.
    #[error("cannot set the limit {name}")]
    Limit {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        cause: Errno,
    },
    /// A process attribute was not set.
    #[error("cannot set the process attribute {name}")]
    Attribute {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        cause: Errno,
    },
}

/// Whom the process becomes.
#[derive(Clone, Copy, Debug)]
pub struct Jail {
    /// User, when started as root.
    pub uid: u32,
    /// Group, when started as root.
    pub gid: u32,
}

impl Jail {
    /// Takes all measures in the one order that works: each needs rights that
    /// a later one takes away.
    ///
    /// # Errors
    /// See [`JailError`].
    pub fn enter(self) -> Result<(), JailError> {
        allocator::economize();
        limit_resources()?;
        if geteuid().is_root() {
            leave_file_system().map_err(JailError::Root)?;
            drop_capabilities(CapSet::Bounding)?;
            self.change_user()?;
        }
        for set in [
            CapSet::Ambient,
            CapSet::Effective,
            CapSet::Permitted,
            CapSet::Inheritable,
        ] {
            drop_capabilities(set)?;
        }
        set_attributes()
    }

    fn change_user(self) -> Result<(), JailError> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&[])
            .and_then(|()| setresgid(gid, gid, gid))
            .and_then(|()| setresuid(uid, uid, uid))
            .map_err(|cause| JailError::User {
                uid: self.uid,
                gid: self.gid,
                cause,
            })
    }
}

fn limit_resources() -> Result<(), JailError> {
    let limit = |name| move |cause| JailError::Limit { name, cause };
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(limit("RLIMIT_CORE"))?;
    let files = Resource::RLIMIT_NOFILE;
    let (_, hard) = getrlimit(files).map_err(limit("RLIMIT_NOFILE"))?;
    if setrlimit(files, DESCRIPTORS, DESCRIPTORS).is_ok() {
        return Ok(());
    }
    warn!(
        hard,
        wanted = DESCRIPTORS,
        "too few open files allowed for all connections"
    );
    setrlimit(files, hard, hard).map_err(limit("RLIMIT_NOFILE"))
}

/// Makes a directory that has been removed the root: nothing is in it, and
/// nothing can be made in it.
fn leave_file_system() -> Result<(), Errno> {
    let in_scratch = |parent| mkdtemp(&Path::new(parent).join("kata-mshv-vsock.XXXXXX"));
    let path = in_scratch("/run").or_else(|_| in_scratch("/tmp"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(&path, flags, Mode::empty());
    unlinkat(AT_FDCWD, &path, UnlinkatFlags::RemoveDir)?;
    fchdir(directory?)?;
    chroot(".")
}

fn drop_capabilities(set: CapSet) -> Result<(), JailError> {
    caps::clear(None, set).map_err(JailError::Capabilities)
}

/// Last, because a change of user resets some of them.
fn set_attributes() -> Result<(), JailError> {
    let attribute = |name| move |cause| JailError::Attribute { name, cause };
    prctl::set_no_new_privs().map_err(attribute("no_new_privs"))?;
    prctl::set_dumpable(false).map_err(attribute("dumpable"))?;
    // A parent that died before this is noticed by its closed handover socket.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(attribute("pdeathsig"))
}
