//! Pod manifests: read, check, and translate for the container runtime.
//!
//! ```text
//! YAML text ── parse ──▶ Manifest of Pod ── validate ──▶ to_cri ──▶ CRI messages
//!                 └─▶ warnings: fields that have no effect
//! ```
//!
//! What kubelet and the API server would do to a pod on its way to the runtime
//! is done here: defaults, sums of resources, expansion of variables. What they
//! alone can do is refused by name, and what has no effect is reported: a
//! manifest never means less than it says without a word.

mod container;
mod error;
mod parse;
mod pod;
mod quantity;
mod runtime_class;
mod security;
pub mod to_cri;
mod validate;
mod volume;

pub use container::{
    Container, ContainerPort, EnvSource, EnvVar, FieldRef, Protocol, PullPolicy, ResourceFieldRef,
    ResourceList, Resources,
};
pub use error::{ManifestError, Refusal, Warning};
pub use parse::{Manifest, parse};
pub use pod::{
    DnsConfig, DnsOption, DnsPolicy, HostAlias, ObjectMeta, Pod, PodSpec, RestartPolicy,
};
pub use quantity::{NotAQuantity, Quantity};
pub use runtime_class::{ClassMeta, Overhead, RuntimeClass};
pub use security::{
    Capabilities, GroupsPolicy, PodSecurityContext, ProcMount, Profile, ProfileKind,
    SecurityContext, Sysctl,
};
pub use volume::{
    EmptyDir, HostPath, HostPathKind, Medium, MountPropagation, RecursiveReadOnly, Volume,
    VolumeMount,
};
