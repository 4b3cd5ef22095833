//! How much memory the containers may have together: the guest keeps within what
//! the pod's control group on the host allows, also after that was changed.

use protocol::Failure;
use protocol::agent::UpdateContainerRequest;

use super::Sandbox;
use crate::failure::failure;
use crate::host_cgroup::{CgroupError, HostCgroup};
use crate::sizing::Size;

/// Bytes, in a VM of `size` and without its huge pages, which count as the pod's
/// memory on the host and as nobody's in the guest; 0 for as much as the guest has.
pub(super) fn bound(
    cgroup: Option<&HostCgroup>,
    overhead_mib: u32,
    size: &Size,
) -> Result<u64, CgroupError> {
    let Some(cgroup) = cgroup else {
        return Ok(0);
    };
    let bound = cgroup.for_containers(overhead_mib, size.huge_pages.bytes())?;
    Ok(bound
        .filter(|bytes| bytes >> 20 < size.memory_mib)
        .unwrap_or_default())
}

impl Sandbox {
    /// Changes the limits of a container, which has room in the VM. kubelet has
    /// changed the pod's control group before, where that had to grow.
    pub(crate) async fn update(&self, id: &str, resources: Vec<u8>) -> Result<(), Failure> {
        let size = *self.size.lock().await;
        let bound = bound(self.cgroup().as_ref(), self.overhead_mib, &size);
        let request = UpdateContainerRequest {
            container_id: id.to_owned(),
            resources,
            memory_max: bound.map_err(|error| failure(&error))?,
            ..Default::default()
        };
        self.agent.update_container(&request).await
    }
}
