//! What all containers may have of the guest's memory.
//!
//! The guest has more memory than the pod's limits on the host allow, so that a
//! container never finds less than it may use. Page cache would fill the rest, and
//! the host would end the VM for it. So the bound is drawn here too, where the
//! kernel takes cache back instead: around all containers, since what a stopped
//! one leaves in the cache is charged to the group above it.

use std::path::Path;

use super::PodError;
use crate::init::POD_CGROUP;

/// Bounds the containers' memory at `bytes`; 0 for no bound.
pub(crate) fn limit_memory(bytes: u64) -> Result<(), PodError> {
    let value = match bytes {
        0 => "max".to_owned(),
        some => some.to_string(),
    };
    // cgroup v2: kernel documentation, "Control Group v2", memory.max.
    std::fs::write(Path::new(POD_CGROUP).join("memory.max"), value)
        .map_err(|source| PodError::Memory { bytes, source })
}
