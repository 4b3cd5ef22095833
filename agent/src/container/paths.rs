//! Where a container's files are in the guest.

use std::path::{Path, PathBuf};

use protocol::Id;

use crate::init::POD_CGROUP;

/// State directories of libcontainer, one per container.
pub(crate) const STATES: &str = "/run/containers";

const BUNDLES: &str = "/run/bundles";

/// The container's bundle: specification, seccomp filter, requests to helpers.
pub(crate) fn bundle(id: &Id) -> PathBuf {
    Path::new(BUNDLES).join(id.as_str())
}

/// libcontainer's directory for the container.
pub(crate) fn state(id: &Id) -> PathBuf {
    Path::new(STATES).join(id.as_str())
}

/// The container's cgroup.
pub(crate) fn cgroup(id: &Id) -> PathBuf {
    Path::new(POD_CGROUP).join(id.as_str())
}

/// The specification as the host sent it.
pub(crate) fn specification(id: &Id) -> PathBuf {
    bundle(id).join("spec.json")
}

/// The specification as libcontainer is to see it.
pub(crate) fn configuration(id: &Id) -> PathBuf {
    bundle(id).join("config.json")
}

/// The container's compiled seccomp filter; absent when it has none.
pub(crate) fn filter(id: &Id) -> PathBuf {
    bundle(id).join("seccomp")
}

/// The OCI `process` of an exec, until its helper has read it.
pub(crate) fn process(container: &Id, exec: &Id) -> PathBuf {
    bundle(container).join(format!("process-{exec}.json"))
}
