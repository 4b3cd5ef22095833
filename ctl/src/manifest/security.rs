//! Security settings of pods and containers: the fields that are carried out.

use serde::Deserialize;

/// Settings of all containers of a pod; a container's own win.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    /// User id of processes.
    pub run_as_user: Option<u32>,
    /// Primary group id of processes.
    pub run_as_group: Option<u32>,
    /// Refuse to start as root.
    pub run_as_non_root: Option<bool>,
    /// Group that owns the pod's emptyDir volumes, and processes are in.
    pub fs_group: Option<u32>,
    /// More groups of processes.
    #[serde(default)]
    pub supplemental_groups: Vec<u32>,
    /// Whether groups of the image's `/etc/group` count too.
    pub supplemental_groups_policy: Option<GroupsPolicy>,
    /// Filter of system calls.
    pub seccomp_profile: Option<Profile>,
    /// Mandatory access control.
    pub app_armor_profile: Option<Profile>,
    /// Kernel parameters of the pod's namespaces.
    #[serde(default)]
    pub sysctls: Vec<Sysctl>,
}

/// Settings of one container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// User id of processes.
    pub run_as_user: Option<u32>,
    /// Primary group id of processes.
    pub run_as_group: Option<u32>,
    /// Refuse to start as root.
    pub run_as_non_root: Option<bool>,
    /// All capabilities and devices, no filter.
    #[serde(default)]
    pub privileged: bool,
    /// Mount the image's files read-only.
    #[serde(default)]
    pub read_only_root_filesystem: bool,
    /// Whether a process may gain privileges by executing a program.
    pub allow_privilege_escalation: Option<bool>,
    /// Changes to the default set.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Filter of system calls.
    pub seccomp_profile: Option<Profile>,
    /// Mandatory access control.
    pub app_armor_profile: Option<Profile>,
    /// What of `/proc` is hidden.
    #[serde(default)]
    pub proc_mount: ProcMount,
}

/// Changes to the default capabilities, without `CAP_`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Capabilities {
    /// Granted.
    #[serde(default)]
    pub add: Vec<String>,
    /// Taken.
    #[serde(default)]
    pub drop: Vec<String>,
}

/// Whether groups of the image's `/etc/group` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum GroupsPolicy {
    /// They do.
    Merge,
    /// They do not.
    Strict,
}

/// What of `/proc` is hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ProcMount {
    /// What says too much about the kernel.
    #[default]
    Default,
    /// Nothing.
    Unmasked,
}

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: ProfileKind,
    /// Of kind `Localhost`, the profile's name.
    pub localhost_profile: Option<String>,
}

/// Where a profile comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ProfileKind {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// From the host.
    Localhost,
}

/// A kernel parameter.
#[derive(Debug, Clone, Deserialize)]
pub struct Sysctl {
    /// Such as `net.ipv4.ip_forward`.
    pub name: String,
    /// Its value.
    pub value: String,
}
