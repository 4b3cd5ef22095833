//! What a machine is to be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A machine, before it runs. File descriptors that belong to it travel
/// beside this, never inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// Online CPUs at boot, at least 1.
    pub vcpus: u32,
    /// CPUs that it can have at most, those of boot among them. The guest keeps
    /// memory for each (docs/decisions/0020-processors-come-late.md).
    /// Absent or 0: no more than at boot.
    #[serde(default)]
    pub max_vcpus: u32,
    /// Guest memory at boot, MiB.
    pub memory_mib: u64,
    /// Guest memory at most, MiB: what is beyond `memory_mib` comes by
    /// `Request::ResizeMemory`. Absent or 0: no more than at boot.
    #[serde(default)]
    pub max_memory_mib: u64,
    /// Uncompressed ELF kernel with a PVH or 64-bit entry.
    pub kernel: PathBuf,
    /// cpio archive, uncompressed.
    pub initramfs: PathBuf,
    /// Kernel parameters beside those that the driver itself needs.
    pub kernel_parameters: String,
    /// vsock context id of the guest, above 2.
    pub guest_cid: u32,
    /// virtio-fs tag of the pod's share.
    pub share_tag: String,
    /// Network interfaces, in the order of their descriptors.
    pub nets: Vec<NetConfig>,
    /// Disks, in the order of their descriptors.
    #[serde(default)]
    pub disks: Vec<DiskConfig>,
}

/// A disk of the guest, on a file or a block device of the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// What the guest knows it by: 1 to 20 printable ASCII characters without
    /// blanks.
    pub serial: String,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// Queues that the guest's processors share, 1 to 16.
    pub queues: u16,
}

/// A network interface of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetConfig {
    /// Hardware address, `02:00:00:00:00:01`.
    pub mac: String,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Pairs of queues that the guest's processors share, 1 to 16. Each has a tap
    /// of its own: a queue of one and the same interface.
    #[serde(default = "one_pair")]
    pub queue_pairs: u16,
    /// The host's kernel moves its packets (`vhost-net`), not the VMM. Each pair has
    /// a descriptor for that beside its tap.
    #[serde(default)]
    pub vhost: bool,
}

fn one_pair() -> u16 {
    1
}
