//! The vhost-user connection: one VMM, from its connection to its end.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use nix::sys::socket::{getsockopt, sockopt};
use vhost_016::vhost_user::{self, Listener};
use vhost_user_backend_022::{Error as BackendError, VhostUserDaemon};
use virtiofsd::passthrough::PassthroughFs;
use virtiofsd::vhost_user::{VhostUserFsBackend, VhostUserFsBackendBuilder};
use vm_memory_017::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::device::Device;
use crate::relief::Relief;

/// Failures around the VMM's connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The inherited descriptor is not what it should be.
    #[error("descriptor {fd} is no listening UNIX stream socket; the parent must pass one")]
    Listener {
        /// Its number.
        fd: RawFd,
        /// Answer of the kernel, if it knew the descriptor at all.
        #[source]
        source: Option<io::Error>,
    },
    /// The device's own parts.
    #[error("create the device")]
    Device(#[source] virtiofsd::vhost_user::Error),
    /// The thread that looks for too many files.
    #[error("start the thread that asks for relief")]
    Relief(#[source] io::Error),
    /// The vhost-user protocol.
    #[error("{step}: {reason}")]
    Protocol {
        /// What was attempted.
        step: &'static str,
        /// The text of an error that is no `std::error::Error`.
        reason: String,
    },
}

fn protocol(step: &'static str) -> impl FnOnce(BackendError) -> Error {
    move |error| Error::Protocol {
        step,
        reason: error.to_string(),
    }
}

/// Takes over the listening socket that the parent left at `fd`.
///
/// # Errors
///
/// If there is no listening socket at `fd`.
#[allow(unsafe_code, reason = "a descriptor is inherited by number")]
pub(crate) fn inherited_listener(fd: RawFd) -> Result<UnixListener, Error> {
    if fd <= libc::STDERR_FILENO {
        return Err(Error::Listener { fd, source: None });
    }
    // SAFETY: nothing else in this process knows a descriptor above standard
    // error yet. One that is not open is refused by getsockopt below.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    match getsockopt(&socket, sockopt::AcceptConn) {
        Ok(true) => Ok(UnixListener::from(socket)),
        Ok(false) => Err(Error::Listener { fd, source: None }),
        Err(errno) => {
            // Not open, so not ours to close.
            std::mem::forget(socket);
            let source = Some(errno.into());
            Err(Error::Listener { fd, source })
        }
    }
}

/// Accepts the VMM and works for it until it hangs up.
///
/// # Errors
///
/// If the VMM breaks the vhost-user protocol or a thread cannot be started. A
/// connection that ends, even within a message, is no error: VMMs get killed.
pub(crate) fn until_disconnect(
    files: PassthroughFs,
    listener: UnixListener,
    threads: usize,
    relief: Option<Relief>,
) -> Result<(), Error> {
    let mut daemon = daemon(files, threads, relief)?;
    let mut listener = Listener::from(listener);
    daemon
        .start(&mut listener)
        .map_err(protocol("accept the VMM's connection"))?;
    // There is one VMM: a second connection shall fail, not wait.
    drop(listener);
    match daemon.wait() {
        Err(error) if !is_disconnect(&error) => Err(protocol("serve the VMM")(error)),
        _ => Ok(()),
    }
}

type Daemon = VhostUserDaemon<Arc<Device<VhostUserFsBackend<PassthroughFs>>>>;

fn daemon(files: PassthroughFs, threads: usize, relief: Option<Relief>) -> Result<Daemon, Error> {
    let served = VhostUserFsBackendBuilder::default()
        .set_thread_pool_size(threads)
        .build(files)
        .map_err(Error::Device)?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let turns = relief.map(Relief::watch).transpose();
    let turns = turns.map_err(Error::Relief)?;
    let device = Device { served, turns };
    VhostUserDaemon::new("vhost-user".to_owned(), Arc::new(device), memory)
        .map_err(protocol("create the device's event loop"))
}

fn is_disconnect(error: &BackendError) -> bool {
    use vhost_user::Error::{Disconnected, PartialMessage, SocketBroken};
    matches!(
        error,
        BackendError::HandleRequest(Disconnected | PartialMessage | SocketBroken(_))
    )
}
