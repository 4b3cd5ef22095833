//! `v1 Pod`: the fields that are carried out. A field that is not here is
//! reported when a manifest has it, so nothing is added that is not used.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::container::Container;
use super::container::{ResourceList, Resources};
use super::security::PodSecurityContext;
use super::volume::Volume;

/// A pod, with the defaults of the API server applied.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Always `v1`.
    pub api_version: String,
    /// Always `Pod`.
    pub kind: String,
    /// Name and labels.
    pub metadata: ObjectMeta,
    /// What runs.
    pub spec: PodSpec,
}

impl Pod {
    /// `namespace/name`, for messages.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Containers that are supervised to the end of the pod: the restartable
    /// init containers, and the containers.
    pub fn long_running(&self) -> impl Iterator<Item = &Container> {
        let sidecars = self.spec.init_containers.iter().filter(|c| c.is_sidecar());
        sidecars.chain(&self.spec.containers)
    }

    /// All containers in the order in which they are created.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.spec
            .init_containers
            .iter()
            .chain(&self.spec.containers)
    }
}

/// Name, namespace, labels.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// A DNS subdomain.
    pub name: String,
    /// A DNS label.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Made up where the manifest has none, as the API server does.
    #[serde(default = "new_uid")]
    pub uid: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// A version 4 UUID. The kernel makes one at each read; that read fails only
/// without a mounted /proc, and then the process id has to tell pods apart.
fn new_uid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_or_else(
        |_| format!("pid-{}", std::process::id()),
        |uuid| uuid.trim().to_owned(),
    )
}

/// What a pod consists of.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The runtime handler, or the name of a RuntimeClass of the same manifest.
    pub runtime_class_name: Option<String>,
    /// Run one after the other, each to its end, before the containers.
    #[serde(default)]
    pub init_containers: Vec<Container>,
    /// Run together.
    pub containers: Vec<Container>,
    /// What containers can mount.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// When an ended container is started again.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Seconds from the stop signal to SIGKILL.
    #[serde(default = "default_grace")]
    pub termination_grace_period_seconds: u32,
    /// Resources of the pod as a whole; they replace the containers' sums.
    #[serde(default)]
    pub resources: Resources,
    /// What the pod costs beside its containers.
    #[serde(default)]
    pub overhead: ResourceList,
    /// Security settings of all containers.
    #[serde(default)]
    pub security_context: PodSecurityContext,
    /// Use the host's network.
    #[serde(default, rename = "hostNetwork")]
    pub host_network: bool,
    /// Use the host's process ids.
    #[serde(default, rename = "hostPID")]
    pub host_pid: bool,
    /// Use the host's System V IPC.
    #[serde(default, rename = "hostIPC")]
    pub host_ipc: bool,
    /// Use the host's users; `false` is refused.
    #[serde(default = "default_true")]
    pub host_users: bool,
    /// All containers see each other's processes.
    #[serde(default)]
    pub share_process_namespace: bool,
    /// The pod's name where it is not given.
    pub hostname: Option<String>,
    /// Additional lines of `/etc/hosts`.
    #[serde(default)]
    pub host_aliases: Vec<HostAlias>,
    /// Where resolver settings come from.
    #[serde(default)]
    pub dns_policy: DnsPolicy,
    /// Resolver settings on top of those of the policy.
    #[serde(default)]
    pub dns_config: DnsConfig,
    /// The name of this host where it is not given.
    pub node_name: Option<String>,
    /// Only told to containers that ask for it.
    #[serde(default = "default_namespace")]
    pub service_account_name: String,
}

fn default_grace() -> u32 {
    30
}

fn default_true() -> bool {
    true
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    #[default]
    Always,
    /// When its exit code is not zero.
    OnFailure,
    /// Not at all.
    Never,
}

/// Where resolver settings come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum DnsPolicy {
    /// The cluster's; without a cluster, as kubelet without cluster DNS: the
    /// host's.
    #[default]
    ClusterFirst,
    /// As `ClusterFirst`, with host network too.
    ClusterFirstWithHostNet,
    /// The host's.
    Default,
    /// `dnsConfig` alone.
    None,
}

/// Resolver settings.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DnsConfig {
    /// Addresses.
    #[serde(default)]
    pub nameservers: Vec<String>,
    /// Domains.
    #[serde(default)]
    pub searches: Vec<String>,
    /// Options; a later one replaces an earlier one of the same name.
    #[serde(default)]
    pub options: Vec<DnsOption>,
}

/// `name` or `name:value` of resolv.conf.
#[derive(Debug, Clone, Deserialize)]
pub struct DnsOption {
    /// Such as `ndots`.
    pub name: String,
    /// Such as `5`.
    pub value: Option<String>,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, Deserialize)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    #[serde(default)]
    pub hostnames: Vec<String>,
}
