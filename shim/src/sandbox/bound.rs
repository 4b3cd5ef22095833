//! How much memory the containers may have together: the guest keeps within what
//! the pod's control group on the host allows, also after that was changed.

use protocol::Failure;
use protocol::agent::UpdateContainerRequest;

use super::Sandbox;
use crate::failure::failure;
use crate::host_cgroup::{CgroupError, HostCgroup};

/// Bytes, in a VM of `memory_mib`; 0 for as much as the guest has.
pub(super) fn bound(
    cgroup: Option<&HostCgroup>,
    overhead_mib: u32,
    memory_mib: u64,
) -> Result<u64, CgroupError> {
    let Some(cgroup) = cgroup else {
        return Ok(0);
    };
    let bound = cgroup.for_containers(overhead_mib)?;
    Ok(bound
        .filter(|bytes| bytes >> 20 < memory_mib)
        .unwrap_or_default())
}

impl Sandbox {
    /// Changes the limits of a container, which has room in the VM. kubelet has
    /// changed the pod's control group before, where that had to grow.
    pub(crate) async fn update(&self, id: &str, resources: Vec<u8>) -> Result<(), Failure> {
        let memory_mib = self.size.lock().await.memory_mib;
        let bound = bound(self.cgroup().as_ref(), self.overhead_mib, memory_mib);
        let request = UpdateContainerRequest {
            container_id: id.to_owned(),
            resources,
            memory_max: bound.map_err(|error| failure(&error))?,
            ..Default::default()
        };
        self.agent.update_container(&request).await
    }
}
