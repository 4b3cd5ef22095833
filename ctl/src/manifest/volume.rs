//! Volumes of a pod: host folders and empty ones. All others live in an API
//! server or need kubelet's volume plugins.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::quantity::Quantity;

/// A volume: a name and one source.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// A DNS label, unique in the pod.
    pub name: String,
    /// A file or folder of the host.
    pub host_path: Option<HostPath>,
    /// An empty folder that lives as long as the pod.
    pub empty_dir: Option<EmptyDir>,
    /// Refused.
    pub config_map: Option<IgnoredAny>,
    /// Refused.
    pub secret: Option<IgnoredAny>,
    /// Refused.
    pub projected: Option<IgnoredAny>,
    /// Refused.
    #[serde(rename = "downwardAPI")]
    pub downward_api: Option<IgnoredAny>,
    /// Refused.
    pub persistent_volume_claim: Option<IgnoredAny>,
    /// Refused.
    pub csi: Option<IgnoredAny>,
    /// Refused.
    pub ephemeral: Option<IgnoredAny>,
    /// Refused.
    pub nfs: Option<IgnoredAny>,
    /// Refused.
    pub image: Option<IgnoredAny>,
}

impl Volume {
    /// The source that cannot be had, where there is one.
    #[must_use]
    pub fn refused_source(&self) -> Option<&'static str> {
        let sources = [
            ("configMap", &self.config_map),
            ("secret", &self.secret),
            ("projected", &self.projected),
            ("downwardAPI", &self.downward_api),
            ("persistentVolumeClaim", &self.persistent_volume_claim),
            ("csi", &self.csi),
            ("ephemeral", &self.ephemeral),
            ("nfs", &self.nfs),
            ("image", &self.image),
        ];
        let present = sources.into_iter().find(|(_, source)| source.is_some());
        present.map(|(name, _)| name)
    }
}

/// A file or folder of the host.
#[derive(Debug, Clone, Deserialize)]
pub struct HostPath {
    /// Where it is, absolute.
    pub path: String,
    /// What must be there.
    #[serde(default, rename = "type")]
    pub kind: HostPathKind,
}

/// What must be at a host path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum HostPathKind {
    /// Anything; the runtime makes a folder where there is nothing.
    #[default]
    #[serde(rename = "")]
    Unchecked,
    /// A folder.
    Directory,
    /// A folder, made where there is nothing.
    DirectoryOrCreate,
    /// A file.
    File,
    /// A file, made where there is nothing.
    FileOrCreate,
    /// A UNIX socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// An empty folder that lives as long as the pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {
    /// Disk or memory.
    #[serde(default)]
    pub medium: Medium,
    /// Of a memory volume, its size. A disk volume's is not enforced: that
    /// takes kubelet's eviction.
    pub size_limit: Option<Quantity>,
}

/// What an empty folder is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub enum Medium {
    /// The disk of the host.
    #[default]
    #[serde(rename = "")]
    Disk,
    /// A tmpfs.
    Memory,
    /// Huge pages, which are refused.
    #[serde(untagged)]
    Unknown(String),
}

/// Where a volume appears in a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume.
    pub name: String,
    /// Where it appears.
    pub mount_path: String,
    /// Not to be written.
    #[serde(default)]
    pub read_only: bool,
    /// What of read-only mounts includes the mounts below.
    #[serde(default)]
    pub recursive_read_only: RecursiveReadOnly,
    /// Whether later mounts below are seen on the other side.
    #[serde(default)]
    pub mount_propagation: MountPropagation,
    /// Refused: containers could lead it out of the volume by a link.
    #[serde(default)]
    pub sub_path: String,
    /// Refused, as `subPath`.
    #[serde(default)]
    pub sub_path_expr: String,
}

/// Whether a read-only mount includes the mounts below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RecursiveReadOnly {
    /// It does not.
    #[default]
    Disabled,
    /// Where the runtime can.
    IfPossible,
    /// It does.
    Enabled,
}

/// Whether later mounts below a mount are seen on the other side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum MountPropagation {
    /// They are not.
    #[default]
    None,
    /// The host's are seen in the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}
