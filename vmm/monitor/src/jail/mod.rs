//! Takes away from the process what it does not need to run a guest.
//!
//! | when | what is gone |
//! |---|---|
//! | [`enter`]: the first thing that the process does | the host's files, network, host name, IPC and cgroups; every capability; the user root; core dumps; descriptors nobody meant to leave |
//! | [`Filter`]: each thread by itself, before the first guest instruction | every system call that this kind of thread does not make |
//!
//! All that the machine is made of arrives open, `/dev/kvm` too, so nothing
//! has to be opened afterwards.
//!
//! There is no PID namespace: it would take a second process, because a
//! process never changes its own (`pid_namespaces(7)`). Without `/proc` nobody
//! else shows, and the filter has no call that names another process.

mod allocator;
mod root;
mod seccomp;
mod user;

use std::io;

use caps::CapSet;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

pub use seccomp::{Filter, FilterError, Kind};
pub use user::{User, UserError};

/// Most descriptors that may be open: one for each of 254 processors, those
/// that were sent, and for each of 32 devices a few queues with two each (its
/// event, and one to take it out of the epoll set by).
const DESCRIPTORS: u64 = 1024;

/// A measure could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// One for which the process has to be root in full.
    #[error("{step} for the jail; the process has to be started as root")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// Answer of the kernel.
        #[source]
        source: io::Error,
    },
    /// The capabilities stayed.
    #[error("drop capabilities")]
    Capabilities(#[source] caps::errors::CapsError),
    /// The user did not change.
    #[error("become user {user}")]
    User {
        /// Who was wanted.
        user: User,
        /// Answer of the kernel.
        #[source]
        source: io::Error,
    },
}

/// Takes all measures but the filters, in the one order that works: each needs
/// rights that a later one takes away. Descriptors up to `last` stay open.
///
/// To be called before a second thread exists, and before anything is opened.
///
/// # Errors
/// See [`JailError`]. The process is to end then: it is half in.
pub fn enter(user: User, last: i32) -> Result<(), JailError> {
    allocator::economize();
    close_after(last)?;
    limit_resources()?;
    root::leave_host()?;
    drop_capabilities(CapSet::Bounding)?;
    user.become_it()?;
    // A change of the user takes the effective ones along, and not all others.
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

fn step(step: &'static str) -> impl FnOnce(Errno) -> JailError {
    move |errno| JailError::Step {
        step,
        source: errno.into(),
    }
}

/// What a parent has left open by mistake is the guest's otherwise, once it
/// has this process.
#[allow(unsafe_code)] // close_range(2) has no safe wrapper.
fn close_after(last: i32) -> Result<(), JailError> {
    let first = last.saturating_add(1).cast_unsigned();
    // SAFETY: nothing has been opened yet, so that nobody owns what is closed.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    Errno::result(closed)
        .map(drop)
        .map_err(step("close inherited descriptors"))
}

fn limit_resources() -> Result<(), JailError> {
    // A core has the guest's memory in it.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("forbid core dumps"))?;
    let limit = || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let most = hard.min(DESCRIPTORS);
        setrlimit(Resource::RLIMIT_NOFILE, most, most)
    };
    limit().map_err(step("limit open descriptors"))
}

fn drop_capabilities(set: CapSet) -> Result<(), JailError> {
    caps::clear(None, set).map_err(JailError::Capabilities)
}

/// Last, because a change of the user resets some of them.
fn set_attributes() -> Result<(), JailError> {
    prctl::set_no_new_privs().map_err(step("forbid new privileges"))?;
    prctl::set_dumpable(false).map_err(step("forbid to be traced"))?;
    // A parent that died before this is noticed by its closed control socket.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("end with the parent"))
}
