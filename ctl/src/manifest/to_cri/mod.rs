//! From a checked pod to the messages of the runtime, as kubelet makes them.
//!
//! Pure: facts about the host and about what already runs come in as data.

mod container;
mod dns;
pub(super) mod env;
mod expand;
mod hosts;
mod labels;
mod mounts;
mod qos;
mod resources;
mod sandbox;
mod security;

pub use container::{ContainerFacts, Image, container_config};
pub use hosts::hosts_file;
pub use labels::{CONTAINER_NAME, GRACE_PERIOD, POD_NAME, POD_NAMESPACE, POD_UID, RESTART_COUNT};
pub use mounts::VolumePaths;
pub use sandbox::{hostname, sandbox_config};

/// What has to be known about the host.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The host's name.
    pub name: String,
    /// CPUs, for containers that ask for a limit they do not have.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Whether the unified hierarchy of cgroups is in use.
    pub cgroup_v2: bool,
    /// Text of the host's resolv.conf.
    pub resolv_conf: String,
}

/// A pod for tests: YAML of a spec, indented by nothing.
#[cfg(test)]
pub(super) fn pod(spec: &str) -> super::Pod {
    let spec = spec
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect::<String>();
    let metadata = "{name: web, namespace: shop, uid: u-1, labels: {app: a}}";
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec:\n{spec}");
    let mut manifest = super::parse(&text).unwrap();
    assert_eq!(manifest.warnings, [], "{text}");
    manifest.pods.remove(0)
}
