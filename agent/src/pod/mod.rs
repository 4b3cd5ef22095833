//! What all containers of the pod have in common: the guest's own host name,
//! clock, kernel settings, share, shared memory and PID namespace.

mod clock;
mod files;
mod memory;
mod mounts;
pub(crate) mod namespaces;
mod pid_namespace;
mod share;
pub(crate) mod sysctl;

use std::path::Path;
use std::sync::Arc;

use protocol::Failure;
use protocol::agent::{CreateSandboxRequest, UpdateNetworkRequest};

pub(crate) use clock::adjust as adjust_clock;
pub(crate) use files::forget_files;
pub(crate) use memory::limit_memory;
pub(crate) use pid_namespace::PidNamespace;
pub(crate) use share::Share;

use crate::helpers::Helpers;
use crate::network::{self, NetworkError};
use namespaces::Namespace;

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
    #[error(transparent)]
    Namespaces(#[from] Failure),
    #[error("enter the pod's namespaces")]
    Enter(#[source] std::io::Error),
    #[error("configure the network")]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
}

/// Makes the guest the pod of `request`. Whether that has a user namespace.
pub(crate) async fn set_up(
    request: &CreateSandboxRequest,
    helpers: &Arc<Helpers>,
) -> Result<bool, PodError> {
    clock::set(request.wall_clock_ns).map_err(PodError::Clock)?;
    if request.memory_max != 0 {
        limit_memory(request.memory_max)?;
    }
    mounts::shared_memory(request.shm_size, namespaces::root(request))?;
    if !request.share_tag.is_empty() {
        mounts::share(&request.share_tag)?;
    }
    let own = namespaces::make(request, helpers).await?;
    if own {
        let net = namespaces::open(Namespace::Network).map_err(PodError::Enter)?;
        network::hand_over(&request.network.interfaces, &net)?;
        let set_up = |devices: &Path| set_up_namespaces(request, devices);
        namespaces::inside(set_up).map_err(PodError::Enter)??;
    } else {
        set_up_namespaces(request, Path::new(network::DEVICES))?;
    }
    Ok(own)
}

/// Makes the pod's network what `request` says; `own` says whether the pod has a user
/// namespace.
pub(crate) fn update_network(request: &UpdateNetworkRequest, own: bool) -> Result<(), PodError> {
    let update = |devices: &Path| network::update(request, devices);
    let updated = match own {
        true => namespaces::inside(update).map_err(PodError::Enter)?,
        false => update(Path::new(network::DEVICES)),
    };
    Ok(updated?)
}

/// What is the network's, UTS's and IPC's namespace's; the network's devices are
/// listed in `devices`.
fn set_up_namespaces(request: &CreateSandboxRequest, devices: &Path) -> Result<(), PodError> {
    if !request.hostname.is_empty() {
        rustix::system::sethostname(request.hostname.as_bytes())
            .map_err(|errno| PodError::HostName(request.hostname.clone(), errno.into()))?;
    }
    network::configure(request, devices)?;
    // Last: some of them are the interfaces'.
    for (name, value) in &request.sysctls {
        sysctl::set(name, value)?;
    }
    Ok(())
}
