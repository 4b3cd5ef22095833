//! The OCI runtime spec: as containerd wrote it for the host, and as the
//! agent gets it for the guest.

mod devices;
mod guest;
mod hooks;
mod kubelet;
mod mounts;
mod pod;
mod volumes;

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use crate::share::MountError;

pub(crate) use devices::{BlockDevice, Number, block_devices, renumber};
pub(crate) use guest::{GuestSpec, for_guest, shared_processes};
pub(crate) use kubelet::revision;
pub(crate) use pod::{of_pod, write};
pub(crate) use volumes::{GuestVolumes, Written};

/// What can be wrong with a spec.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("read the container's spec {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the container's spec {} is not valid", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the container's spec names no root file system")]
    NoRoot,
    #[error("the container's spec has no process")]
    NoProcess,
    #[error(
        "{destination} cannot hand mounts on to the host (mountPropagation: Bidirectional): a \
         mount is made by a kernel for itself, and the pod in a VM has another one than the \
         host; use HostToContainer, or remove the runtimeClassName"
    )]
    Bidirectional { destination: PathBuf },
    #[error(
        "the container has a {stage} hook, {}: hooks are programs of the host, and cannot reach \
         a container in a VM; have what adds it (a CDI specification, a plugin of containerd's, \
         the client) leave it away, or remove the runtimeClassName", program.display()
    )]
    Hook {
        stage: &'static str,
        program: PathBuf,
    },
    #[error(
        "the host's network interface {name} is to be moved into the container \
         (linux.netDevices): it cannot leave the host's kernel for that of a VM; have a network \
         plugin give the pod an interface, or remove the runtimeClassName"
    )]
    NetDevice { name: String },
    #[error(
        "{} is a volume in huge pages of {mib} MiB, and the VM keeps none, since it heard of no \
         limit for them: have containerd pass containers' limits on \
         (disable_hugetlb_controller = false in its CRI section), or the host's kernel have the \
         controller hugetlb, for kubelet to write the pod's there", path.display()
    )]
    HugePages { path: PathBuf, mib: u64 },
    #[error("find out what the volume {} is", path.display())]
    Volume {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("look for what is mounted below the volume {}", path.display())]
    Below {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Share(#[from] MountError),
    #[error("write the container's spec")]
    Encode(#[source] serde_json::Error),
    #[error("make a sandbox's spec of the pod's description")]
    Pod(#[source] serde_json::Error),
    #[error("write the sandbox's spec {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl SpecError {
    /// Whether there is no spec at all.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads `config.json` of a bundle.
pub(crate) fn read(bundle: &Path) -> Result<Spec, SpecError> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).map_err(|source| SpecError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| SpecError::Json { path, source })
}
