//! What the process may do, apart from which files and system calls it reaches.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::setgroups;

/// Descriptors beyond this are not asked for: each one that the guest makes us
/// hold pins an inode in the host's memory.
const MAX_DESCRIPTORS: u64 = 1_000_000;

/// Failures to change what the process may do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The limit of open files.
    #[error("raise the limit of open files to {wanted}; raise the parent's (LimitNOFILE)")]
    Descriptors {
        /// Limit asked for.
        wanted: u64,
        /// Answer of the kernel.
        #[source]
        source: Errno,
    },
    /// The capability sets.
    #[error("reduce the capabilities; the process must start as root with {missing:?}")]
    Capabilities {
        /// What the process lacked.
        missing: Vec<Capability>,
        /// Answer of the kernel.
        #[source]
        source: caps::errors::CapsError,
    },
    /// A process attribute.
    #[error("set the process attribute {name}")]
    Attribute {
        /// Its name in prctl(2), setrlimit(2) or credentials(7).
        name: &'static str,
        /// Answer of the kernel.
        #[source]
        source: Errno,
    },
}

/// Capabilities that acting for any user of the guest takes, each on files of
/// the share alone: everything else is out of the sandbox's reach.
///
/// CAP_DAC_READ_SEARCH is not among them: it opens any file of a file system by
/// handle, past the sandbox, so inodes are held by descriptor instead.
pub(crate) fn file_capabilities() -> CapsHashSet {
    [
        Capability::CAP_CHOWN,
        Capability::CAP_DAC_OVERRIDE,
        Capability::CAP_FOWNER,
        Capability::CAP_FSETID,
        Capability::CAP_SETGID,
        Capability::CAP_SETUID,
        Capability::CAP_MKNOD,
        Capability::CAP_SETFCAP,
    ]
    .into_iter()
    .collect()
}

/// Has the kernel kill this process when the thread that started it ends.
///
/// That is a thread, not a process: it must be one that lasts. A parent that may
/// die within the first millisecond should set this itself before the exec.
pub(crate) fn die_with_parent() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Raises the limit of open files as far as the kernel lets us, and returns it.
///
/// # Errors
///
/// If not even the soft limit can be raised to the hard one.
pub(crate) fn raise_descriptor_limit() -> Result<u64, Error> {
    let failed = |wanted| move |source| Error::Descriptors { wanted, source };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed(0))?;
    let wanted = MAX_DESCRIPTORS.max(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(failed(hard))?;
    Ok(hard)
}

/// Gives up every capability but [`file_capabilities`], for good, and keeps
/// others from looking into this process.
///
/// # Errors
///
/// If one of the capabilities to keep is not there.
pub(crate) fn keep_file_capabilities() -> Result<(), Error> {
    attribute("supplementary groups", setgroups(&[]))?;
    attribute("NO_NEW_PRIVS", prctl::set_no_new_privs())?;
    attribute("DUMPABLE", prctl::set_dumpable(false))?;
    attribute("RLIMIT_CORE", setrlimit(Resource::RLIMIT_CORE, 0, 0))?;
    let keep = file_capabilities();
    reduce(&keep).map_err(|source| lacking(&keep, source))
}

fn reduce(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, keep)?;
    caps::set(None, CapSet::Permitted, keep)
}

fn attribute(name: &'static str, result: nix::Result<()>) -> Result<(), Error> {
    result.map_err(|source| Error::Attribute { name, source })
}

fn lacking(keep: &CapsHashSet, source: caps::errors::CapsError) -> Error {
    let have = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let missing = keep.difference(&have).copied().collect();
    Error::Capabilities { missing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these would let a guest that took over the process out of the
    /// share or at the host.
    #[test]
    fn no_capability_reaches_past_the_share() {
        let kept = file_capabilities();
        for refused in [
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_DAC_READ_SEARCH,
            Capability::CAP_SYS_PTRACE,
            Capability::CAP_SYS_CHROOT,
            Capability::CAP_NET_ADMIN,
            Capability::CAP_KILL,
        ] {
            assert!(!kept.contains(&refused), "{refused}");
        }
    }
}
