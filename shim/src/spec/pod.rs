//! The spec of a sandbox that containerd describes as a pod and not as a
//! container (Sandbox API): what its own sandbox controller would have written
//! for the same pod. All else then is as with a container.

use std::path::Path;

use k8s_cri::v1::{
    IdMapping, LinuxPodSandboxConfig, NamespaceMode, PodSandboxConfig, UserNamespace,
};
use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use super::SpecError;

/// What containerd's annotations on a sandbox begin with.
const PREFIX: &str = "io.kubernetes.cri.";

/// The spec of the sandbox `id` of `pod`; `netns` empty: the host's network.
///
/// # Errors
/// When a value does not fit, a control group's path for one.
pub(crate) fn of_pod(id: &str, pod: &PodSandboxConfig, netns: &str) -> Result<Spec, SpecError> {
    let linux = pod.linux.clone().unwrap_or_default();
    let mut namespaces = vec![json!({"type": "ipc"}), json!({"type": "uts"})];
    if !netns.is_empty() {
        namespaces.push(json!({"type": "network", "path": netns}));
    }
    let users = user_namespace(&linux);
    if users.is_some() {
        namespaces.push(json!({"type": "user"}));
    }
    let users = users.unwrap_or_default();
    let spec = json!({
        "ociVersion": "1.1.0",
        "hostname": pod.hostname,
        "annotations": annotations(id, pod, &linux),
        "linux": {
            "namespaces": namespaces,
            "uidMappings": mappings(&users.uids),
            "gidMappings": mappings(&users.gids),
            "sysctl": linux.sysctls,
            "cgroupsPath": cgroups_path(&linux.cgroup_parent, id),
        },
    });
    serde_json::from_value(spec).map_err(SpecError::Pod)
}

/// The pod's own, which it has unless it is to have the node's.
fn user_namespace(linux: &LinuxPodSandboxConfig) -> Option<UserNamespace> {
    let context = linux.security_context.as_ref()?;
    let users = context.namespace_options.as_ref()?.userns_options.clone()?;
    (users.mode() == NamespaceMode::Pod).then_some(users)
}

fn mappings(ranges: &[IdMapping]) -> Vec<Value> {
    let mapping = |range: &IdMapping| {
        json!({
            "containerID": range.container_id, "hostID": range.host_id, "size": range.length,
        })
    };
    ranges.iter().map(mapping).collect()
}

/// Writes `spec` where a container's would be: whoever cleans up after this
/// shim finds it there.
pub(crate) fn write(bundle: &Path, spec: &Spec) -> Result<(), SpecError> {
    let path = bundle.join("config.json");
    let text = serde_json::to_vec(spec).map_err(SpecError::Encode)?;
    std::fs::write(&path, text).map_err(|source| SpecError::Write { path, source })
}

/// The pod's own, and those of containerd's sandbox controller.
fn annotations(id: &str, pod: &PodSandboxConfig, linux: &LinuxPodSandboxConfig) -> Value {
    let metadata = pod.metadata.clone().unwrap_or_default();
    let resources = linux.resources.clone().unwrap_or_default();
    let of_containerd = [
        ("container-type", "sandbox".to_owned()),
        ("sandbox-id", id.to_owned()),
        ("sandbox-name", metadata.name),
        ("sandbox-namespace", metadata.namespace),
        ("sandbox-uid", metadata.uid),
        ("sandbox-cpu-period", resources.cpu_period.to_string()),
        ("sandbox-cpu-quota", resources.cpu_quota.to_string()),
        (
            "sandbox-memory",
            resources.memory_limit_in_bytes.to_string(),
        ),
    ];
    let mut all: Map<String, Value> = pod
        .annotations
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    // Last: a pod's own cannot pass for containerd's.
    all.extend(of_containerd.map(|(name, value)| (format!("{PREFIX}{name}"), value.into())));
    all.into()
}

/// As runc reads it: systemd's form where the parent is a slice of its.
fn cgroups_path(parent: &str, id: &str) -> Option<String> {
    let name = Path::new(parent).file_name()?.to_str()?;
    Some(match name.ends_with(".slice") {
        true => format!("{name}:cri-containerd:{id}"),
        false => format!("{}/{id}", parent.trim_end_matches('/')),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use k8s_cri::v1::{LinuxContainerResources, PodSandboxMetadata};

    use super::*;
    use crate::role::Role;
    use crate::sizing::Limits;

    fn pod() -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "web".into(),
                ..Default::default()
            }),
            hostname: "web-0".into(),
            annotations: HashMap::from([(format!("{PREFIX}container-type"), "no".into())]),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: "/kubepods/pod1".into(),
                sysctls: HashMap::from([("net.core.somaxconn".into(), "99".into())]),
                resources: Some(LinuxContainerResources {
                    cpu_quota: 150_000,
                    cpu_period: 100_000,
                    memory_limit_in_bytes: 512 << 20,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_pod_is_a_sandbox_of_its_size() {
        let spec = of_pod("s1", &pod(), "/run/netns/x").unwrap();
        assert_eq!(Role::of(&spec), Role::Sandbox);
        let annotations = spec.annotations().clone().unwrap();
        let limits = Limits::of_sandbox(|name| annotations.get(name).map(String::as_str)).unwrap();
        assert_eq!((limits.cpu, limits.memory), (1_500_000_000, 512 << 20));
        assert_eq!(spec.hostname().as_deref(), Some("web-0"));
        let linux = spec.linux().clone().unwrap();
        assert_eq!(linux.sysctl().clone().unwrap()["net.core.somaxconn"], "99");
        let network = linux.namespaces().iter().flatten().next_back().unwrap();
        assert_eq!(network.path().as_deref(), Some(Path::new("/run/netns/x")));
    }

    #[test]
    fn without_a_namespace_the_network_is_the_hosts() {
        let spec = of_pod("s1", &pod(), "").unwrap();
        let linux = spec.linux().clone().unwrap();
        assert!(
            linux
                .namespaces()
                .iter()
                .flatten()
                .all(|n| n.path().is_none())
        );
    }

    #[test]
    fn control_groups_are_named_as_runc_reads_them() {
        assert_eq!(cgroups_path("", "s"), None);
        assert_eq!(
            cgroups_path("/kubepods/pod1/", "s").as_deref(),
            Some("/kubepods/pod1/s")
        );
        assert_eq!(
            cgroups_path("/kubepods.slice/kubepods-pod1.slice", "s").as_deref(),
            Some("kubepods-pod1.slice:cri-containerd:s")
        );
    }
}
