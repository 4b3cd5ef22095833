//! What all containers of the pod have in common: the guest's own host name,
//! clock, kernel settings, share, shared memory and PID namespace.

mod clock;
mod files;
mod memory;
mod mounts;
mod pid_namespace;
mod share;
pub(crate) mod sysctl;

use protocol::agent::CreateSandboxRequest;

pub(crate) use files::forget_files;
pub(crate) use memory::limit_memory;
pub(crate) use pid_namespace::PidNamespace;
pub(crate) use share::Share;

use crate::network::{self, NetworkError};

/// The pod could not be set up as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    #[error("set the clock")]
    Clock(#[source] std::io::Error),
    #[error("set host name {0:?}")]
    HostName(String, #[source] std::io::Error),
    #[error("bound the containers' memory at {bytes} bytes")]
    Memory {
        bytes: u64,
        #[source]
        source: std::io::Error,
    },
    #[error("have the kernel forget files")]
    Files(#[source] std::io::Error),
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    #[error("configure the network")]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
}

/// Makes the guest the pod of `request`.
pub(crate) fn set_up(request: &CreateSandboxRequest) -> Result<(), PodError> {
    clock::set(request.wall_clock_ns).map_err(PodError::Clock)?;
    if !request.hostname.is_empty() {
        rustix::system::sethostname(request.hostname.as_bytes())
            .map_err(|errno| PodError::HostName(request.hostname.clone(), errno.into()))?;
    }
    if request.memory_max != 0 {
        limit_memory(request.memory_max)?;
    }
    mounts::shared_memory(request.shm_size)?;
    if !request.share_tag.is_empty() {
        mounts::share(&request.share_tag)?;
    }
    network::configure(request)?;
    // Last: some of them are the interfaces'.
    for (name, value) in &request.sysctls {
        sysctl::set(name, value)?;
    }
    Ok(())
}
