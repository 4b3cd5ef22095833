//! Pods through CRI, the way kubelet makes them.

mod container;
mod container_spec;
mod limits;
mod logs;
mod sandbox;

pub use container::Container;
pub use container_spec::{ContainerSpec, Input, container};
pub use limits::Limits;
pub use logs::Logs;
pub use sandbox::{Pod, PodSpec, pod, remove_failed};
