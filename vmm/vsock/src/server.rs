//! The life of the process: wait for the VMM, serve it, end with it.

use crate::backend::{Backend, HOST_EVENTS};
use crate::device::Device;
use crate::jail::seccomp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon, VhostUserHandlerError};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

/// How long the shim has to take what the guest sent last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What to serve.
#[derive(Debug)]
pub struct Service {
    /// Where the VMM connects.
    pub listener: OwnedFd,
    /// Where connections are handed over.
    pub handover: OwnedFd,
    /// The guest's context id.
    pub guest_cid: u32,
    /// The host's ports that the guest may dial.
    pub ports: Vec<u32>,
}

/// The device cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A system call of the set-up failed.
    #[error("cannot set up the device's events")]
    SetUp(#[source] Errno),
    /// The epoll set of the queues does not take the device's.
    #[error("cannot add the device's events to those of its queues")]
    Events(#[source] std::io::Error),
    /// The queues cannot be made.
    #[error("cannot make the device's queues")]
    Queues(#[source] VhostUserHandlerError),
    /// A thread cannot be started.
    #[error("cannot start the vhost-user thread")]
    Thread(#[source] std::io::Error),
    /// The VMM does not speak vhost-user as we do.
    #[error("the vhost-user connection broke")]
    Protocol(#[source] ProtocolError),
    /// The vhost-user thread is gone without an answer.
    #[error("the vhost-user thread panicked")]
    Panicked,
    /// The system call filter cannot be applied.
    #[error("cannot confine the process")]
    Jail(#[source] seccomp::SeccompError),
}

impl From<DaemonError> for ServerError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::NewVhostUserHandler(cause) => Self::Queues(cause),
            DaemonError::StartDaemon(cause) => Self::Thread(cause),
            DaemonError::CreateBackendListener(cause)
            | DaemonError::CreateBackendReqHandler(cause)
            | DaemonError::CreateVhostUserListener(cause)
            | DaemonError::HandleRequest(cause) => Self::Protocol(cause),
            DaemonError::WaitDaemon(_) => Self::Panicked,
        }
    }
}

/// Serves one VMM, until it or the shim is gone.
///
/// # Errors
/// See [`ServerError`].
pub fn run(service: Service) -> Result<(), ServerError> {
    if !wait_for_vmm(&service).map_err(ServerError::SetUp)? {
        return Ok(());
    }
    let (mut daemon, backend) = start(service)?;
    attach(&daemon, &backend)?;
    // From here on every thread there will be exists.
    seccomp::confine().map_err(ServerError::Jail)?;

    let ended = daemon.wait();
    lock(&backend).finish(LAST_WORDS);
    match ended {
        Err(error) if !is_hang_up(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

type Shared = Arc<Mutex<Backend>>;

/// Accepts the VMM's connection and starts the threads that serve it.
fn start(service: Service) -> Result<(VhostUserDaemon<Shared>, Shared), ServerError> {
    let cid = service.guest_cid;
    let device = Device::new(cid, service.ports, service.handover).map_err(ServerError::SetUp)?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let backend = Arc::new(Mutex::new(Backend::new(device, cid, memory.clone())));
    let mut daemon = VhostUserDaemon::new("vhost-user".into(), backend.clone(), memory)?;
    daemon.start(&mut Listener::from(UnixListener::from(service.listener)))?;
    Ok((daemon, backend))
}

/// Waits until the VMM connects. `false` when the shim goes away instead.
fn wait_for_vmm(service: &Service) -> Result<bool, Errno> {
    loop {
        let mut sources = [
            PollFd::new(service.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(service.handover.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut sources, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        let happened = |source: &PollFd<'_>| source.revents().is_some_and(|r| !r.is_empty());
        if happened(&sources[1]) {
            return Ok(false);
        }
        if happened(&sources[0]) {
            return Ok(true);
        }
    }
}

/// Lets the device's events and the end of its handover socket be noticed by
/// the thread that serves the queues.
fn attach(daemon: &VhostUserDaemon<Shared>, backend: &Shared) -> Result<(), ServerError> {
    let mut backend = lock(backend);
    if let Some(handle) = daemon.shutdown_handle() {
        backend.hang_up_with(handle);
    }
    let events = backend.device().host_events().as_raw_fd();
    for handler in daemon.get_epoll_handlers() {
        handler
            .register_listener(events, EventSet::IN, HOST_EVENTS.into())
            .map_err(ServerError::Events)?;
    }
    Ok(())
}

/// A panic elsewhere ends the process anyway.
fn lock(backend: &Mutex<Backend>) -> MutexGuard<'_, Backend> {
    backend.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the connection ended as connections do.
fn is_hang_up(error: &DaemonError) -> bool {
    matches!(
        error,
        DaemonError::HandleRequest(
            ProtocolError::Disconnected
                | ProtocolError::PartialMessage
                | ProtocolError::SocketBroken(_)
        )
    )
}
