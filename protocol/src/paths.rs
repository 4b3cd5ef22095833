//! Where things are in the guest.

/// Mount point of the pod's virtio-fs share.
pub const SHARE: &str = "/run/share";

/// The pod's `/dev/shm`, one for all its containers.
pub const SHM: &str = "/run/sandbox/shm";

/// Volumes that are in the guest's memory, each a file system of its own.
pub const VOLUMES: &str = "/run/volumes";
