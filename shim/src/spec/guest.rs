//! A host's spec rewritten for the guest: paths become the share's, what
//! belongs to the host's kernel goes.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Root, Spec};
use protocol::Id;

use super::{GuestVolumes, SpecError, hooks, mounts};
use crate::share::{RootfsMount, Share};

/// What the agent gets.
pub(crate) struct GuestSpec {
    pub(crate) json: Vec<u8>,
    pub(crate) share_process_namespace: bool,
    pub(crate) volumes: GuestVolumes,
}

/// Rewrites `spec`, and shows the guest the files that it names.
pub(crate) fn for_guest(
    spec: &Spec,
    id: &Id,
    bundle: &Path,
    rootfs: &[RootfsMount],
    share: &mut Share,
) -> Result<GuestSpec, SpecError> {
    if spec.process().is_none() {
        return Err(SpecError::NoProcess);
    }
    let mut spec = spec.clone();
    refuse_net_devices(&spec)?;
    spec.set_hooks(hooks::for_guest(spec.hooks().as_ref(), id)?);
    let share_process_namespace = shares_process_namespace(&spec);
    let root = root(&spec, id, bundle, rootfs, share)?;
    spec.set_root(Some(root));
    let wanted = spec.mounts().as_deref().unwrap_or_default();
    let (mounts, volumes) = mounts::for_guest(wanted, id, share)?;
    spec.set_mounts(Some(mounts));
    forget_the_host(&mut spec, id);
    let json = serde_json::to_vec(&spec).map_err(SpecError::Encode)?;
    Ok(GuestSpec {
        json,
        share_process_namespace,
        volumes,
    })
}

fn root(
    spec: &Spec,
    id: &Id,
    bundle: &Path,
    rootfs: &[RootfsMount],
    share: &mut Share,
) -> Result<Root, SpecError> {
    let mut root = spec.root().clone().ok_or(SpecError::NoRoot)?;
    // Relative to the bundle, unless it is absolute (OCI config.md, root.path).
    let in_bundle = bundle.join(root.path());
    let in_guest = share.add_rootfs(id.as_str(), rootfs, &in_bundle)?;
    root.set_path(in_guest);
    Ok(root)
}

/// A PID namespace with a path is another's: the pod's (`shareProcessNamespace:
/// true`), or a container's.
fn shares_process_namespace(spec: &Spec) -> bool {
    pid_namespace(spec).is_some()
}

fn pid_namespace(spec: &Spec) -> Option<&Path> {
    let linux = spec.linux().as_ref()?;
    let mut all = linux.namespaces().iter().flatten();
    let pid = all.find(|namespace| namespace.typ() == LinuxNamespaceType::Pid)?;
    pid.path().as_deref()
}

/// The number of whose processes the container is to see: `/proc/<number>/ns/pid`.
pub(crate) fn shared_processes(spec: &Spec) -> Option<u32> {
    let path = pid_namespace(spec)?.to_str()?;
    let number = path.strip_prefix("/proc/")?.strip_suffix("/ns/pid")?;
    number.parse().ok()
}

fn refuse_net_devices(spec: &Spec) -> Result<(), SpecError> {
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let name = devices.and_then(|devices| devices.keys().min());
    match name.cloned() {
        Some(name) => Err(SpecError::NetDevice { name }),
        None => Ok(()),
    }
}

fn forget_the_host(spec: &mut Spec, id: &Id) {
    if let Some(process) = spec.process_mut() {
        // The guest's kernel has neither.
        process.set_apparmor_profile(None);
        process.set_selinux_label(None);
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_mount_label(None);
        linux.set_cgroups_path(None);
        if linux.intel_rdt().is_some() {
            tracing::warn!(%id, "left out a class of processor cache (intelRdt): it is the host's");
        }
        linux.set_intel_rdt(None);
        forget_namespace_paths(linux);
        if let Some(resources) = linux.resources_mut() {
            resources.set_rdma(None);
        }
    }
}

/// Paths of namespaces are the host's; the agent has its own.
fn forget_namespace_paths(linux: &mut Linux) {
    let stripped = |namespace: &LinuxNamespace| {
        let mut namespace = namespace.clone();
        namespace.set_path(None);
        namespace
    };
    let namespaces = linux
        .namespaces()
        .as_ref()
        .map(|all| all.iter().map(stripped).collect());
    linux.set_namespaces(namespaces);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rewritten(linux: Value) -> Value {
        let mut spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "process": {
                "cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0},
                "apparmorProfile": "cri-containerd", "selinuxLabel": "x"
            },
            "linux": linux
        }))
        .unwrap();
        forget_the_host(&mut spec, &Id::new("c").unwrap());
        serde_json::to_value(&spec).unwrap()
    }

    #[test]
    fn what_is_the_hosts_is_gone() {
        let spec = rewritten(json!({
            "cgroupsPath": "/kubepods/x",
            "namespaces": [{"type": "ipc", "path": "/proc/7/ns/ipc"}],
            "resources": {"rdma": {"mlx5_1": {"hcaHandles": 1}}, "memory": {"limit": 4096}}
        }));
        assert!(spec["process"].get("apparmorProfile").is_none());
        assert!(spec["process"].get("selinuxLabel").is_none());
        assert!(spec["linux"].get("cgroupsPath").is_none());
        assert_eq!(spec["linux"]["namespaces"], json!([{"type": "ipc"}]));
        assert!(spec["linux"]["resources"].get("rdma").is_none());
        assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 4096);
    }

    #[test]
    fn an_interface_of_the_hosts_is_refused_by_its_name() {
        let spec = |devices: Value| -> Spec {
            let linux = json!({"netDevices": devices});
            serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": linux})).unwrap()
        };
        let refused = refuse_net_devices(&spec(json!({"ens4": {}}))).unwrap_err();
        assert!(refused.to_string().contains("interface ens4"), "{refused}");
        assert!(refuse_net_devices(&spec(json!({}))).is_ok());
    }

    #[test]
    fn a_pid_namespace_with_a_path_is_the_pods() {
        let shared = |namespaces: Value| {
            let spec: Spec = serde_json::from_value(json!({
                "ociVersion": "1.0.2", "linux": {"namespaces": namespaces}
            }))
            .unwrap();
            shares_process_namespace(&spec)
        };
        assert!(shared(json!([{"type": "pid", "path": "/proc/7/ns/pid"}])));
        assert!(shared(json!([{"type": "pid", "path": "/run/pidns"}])));
        assert!(!shared(
            json!([{"type": "pid"}, {"type": "ipc", "path": "/proc/7/ns/ipc"}])
        ));
    }

    #[test]
    fn whose_processes_are_seen_is_a_number_in_a_path() {
        let whose = |namespace: Value| {
            let spec: Spec = serde_json::from_value(json!({
                "ociVersion": "1.0.2", "linux": {"namespaces": [namespace]}
            }))
            .unwrap();
            shared_processes(&spec)
        };
        assert_eq!(
            whose(json!({"type": "pid", "path": "/proc/7/ns/pid"})),
            Some(7)
        );
        assert_eq!(whose(json!({"type": "pid", "path": "/run/pidns"})), None);
        assert_eq!(
            whose(json!({"type": "ipc", "path": "/proc/7/ns/ipc"})),
            None
        );
    }
}
