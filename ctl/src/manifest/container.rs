//! `v1 Container`: the fields that are carried out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::pod::RestartPolicy;
use super::quantity::Quantity;
use super::security::SecurityContext;
use super::volume::VolumeMount;

/// A container of a pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// A DNS label, unique in the pod.
    pub name: String,
    /// The image's reference.
    pub image: String,
    /// When the image is pulled.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    /// Replaces the image's entry point.
    #[serde(default)]
    pub command: Vec<String>,
    /// Replaces the image's command.
    #[serde(default)]
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    #[serde(default)]
    pub working_dir: String,
    /// Environment variables.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// Whole objects as environment variables: refused, they are in an API
    /// server.
    #[serde(default)]
    pub env_from: Vec<IgnoredAny>,
    /// Ports to be reached.
    #[serde(default)]
    pub ports: Vec<ContainerPort>,
    /// Requests and limits.
    #[serde(default)]
    pub resources: Resources,
    /// Volumes and where they appear.
    #[serde(default)]
    pub volume_mounts: Vec<VolumeMount>,
    /// Of an init container, `Always` makes it a sidecar.
    pub restart_policy: Option<RestartPolicy>,
    /// Security settings.
    #[serde(default)]
    pub security_context: SecurityContext,
    /// Keep standard input open.
    #[serde(default)]
    pub stdin: bool,
    /// Close it after the first client that attached to it.
    #[serde(default)]
    pub stdin_once: bool,
    /// Give the process a terminal.
    #[serde(default)]
    pub tty: bool,
}

impl Container {
    /// Whether, as an init container, it goes on beside the containers.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// When it is missing. The default here even for `:latest`: the image may
    /// be one that was made on this host.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Requests and limits.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Resources {
    /// The most that may be used.
    #[serde(default)]
    pub limits: ResourceList,
    /// What is set aside.
    #[serde(default)]
    pub requests: ResourceList,
}

/// A port of a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// For people.
    #[serde(default, rename = "name")]
    pub _name: String,
    /// Port in the pod.
    pub container_port: u16,
    /// Port of the host that leads to it; 0 for none.
    #[serde(default)]
    pub host_port: u16,
    /// Address of the host; empty for all.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
    /// Transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Transport of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// An environment variable.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value; `$(OTHER)` stands for an earlier one.
    #[serde(default)]
    pub value: String,
    /// Where its value comes from.
    pub value_from: Option<EnvSource>,
}

/// Where a variable's value comes from: one of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvSource {
    /// A field of the pod.
    pub field_ref: Option<FieldRef>,
    /// A request or limit.
    pub resource_field_ref: Option<ResourceFieldRef>,
    /// Refused: it is in an API server.
    pub config_map_key_ref: Option<IgnoredAny>,
    /// Refused: it is in an API server.
    pub secret_key_ref: Option<IgnoredAny>,
}

/// A field of the pod.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef {
    /// `v1` where it is given.
    #[serde(default, rename = "apiVersion")]
    pub _api_version: String,
    /// Such as `metadata.name` or `metadata.labels['a']`.
    pub field_path: String,
}

/// A request or limit of a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceFieldRef {
    /// The container itself where it is not given.
    pub container_name: Option<String>,
    /// Such as `limits.cpu`.
    pub resource: String,
    /// Unit of the value; 1 where it is not given.
    pub divisor: Option<Quantity>,
}
