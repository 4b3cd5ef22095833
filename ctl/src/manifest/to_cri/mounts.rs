//! Volumes as mounts of a container.

use std::collections::BTreeMap;

use crate::cri::v1::{Mount, MountPropagation as CriPropagation};
use crate::manifest::{Container, MountPropagation, RecursiveReadOnly, VolumeMount};

/// Where each volume is on the host.
pub type VolumePaths = BTreeMap<String, String>;

const HOSTS: &str = "/etc/hosts";

/// The container's mounts: its volumes and, unless one of them is there,
/// `/etc/hosts` from `hosts_file`.
pub(super) fn of_container(
    container: &Container,
    volumes: &VolumePaths,
    hosts_file: &str,
) -> Vec<Mount> {
    let mounts = container.volume_mounts.iter();
    let mut mounts: Vec<_> = mounts.filter_map(|mount| volume(mount, volumes)).collect();
    if mounts.iter().all(|mount| mount.container_path != HOSTS) {
        mounts.push(Mount {
            container_path: HOSTS.to_owned(),
            host_path: hosts_file.to_owned(),
            readonly: container.security_context.read_only_root_filesystem,
            ..Default::default()
        });
    }
    mounts
}

/// None for a volume that is not there, which a checked pod does not name.
fn volume(mount: &VolumeMount, volumes: &VolumePaths) -> Option<Mount> {
    Some(Mount {
        container_path: mount.mount_path.clone(),
        host_path: volumes.get(&mount.name)?.clone(),
        readonly: mount.read_only,
        propagation: propagation(mount.mount_propagation).into(),
        // IfPossible needs the runtime's word that it can, and it is then an
        // error where it cannot: take the choice that always works.
        recursive_read_only: mount.recursive_read_only == RecursiveReadOnly::Enabled,
        ..Default::default()
    })
}

fn propagation(propagation: MountPropagation) -> CriPropagation {
    match propagation {
        MountPropagation::None => CriPropagation::PropagationPrivate,
        MountPropagation::HostToContainer => CriPropagation::PropagationHostToContainer,
        MountPropagation::Bidirectional => CriPropagation::PropagationBidirectional,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    fn mounts(list: &str) -> Vec<Mount> {
        let pod = pod(&format!(
            "volumes: [{{name: v, emptyDir: {{}}}}]
containers: [{{name: c, image: i, volumeMounts: [{list}]}}]"
        ));
        let volumes = VolumePaths::from([("v".into(), "/pods/v".into())]);
        of_container(&pod.spec.containers[0], &volumes, "/pods/hosts")
    }

    #[test]
    fn a_mount_keeps_its_options() {
        let mounts = mounts(
            "{name: v, mountPath: /d, readOnly: true, \
            recursiveReadOnly: Enabled, mountPropagation: HostToContainer}",
        );
        let expected = Mount {
            container_path: "/d".into(),
            host_path: "/pods/v".into(),
            readonly: true,
            recursive_read_only: true,
            propagation: CriPropagation::PropagationHostToContainer.into(),
            ..Mount::default()
        };
        assert_eq!(mounts[0], expected);
        assert_eq!(mounts[1].container_path, "/etc/hosts");
    }

    #[test]
    fn a_volume_at_etc_hosts_takes_its_place() {
        let mounts = mounts("{name: v, mountPath: /etc/hosts}");
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].host_path, "/pods/v");
    }
}
