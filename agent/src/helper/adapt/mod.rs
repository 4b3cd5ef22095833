//! The container's specification, written for the host, made fit for the guest.
//!
//! Paths in it are the guest's already. What changes: the pod's namespaces are
//! the guest's own; cgroups are ours; host devices, CPUs and security modules
//! that the guest lacks are left out; links of the image are followed to where
//! something is to be mounted; the program itself is started by
//! [`super::payload`], so what libcontainer is told of it is only a stand-in.

mod dev;
mod devices;
mod guest_devices;
mod loop_devices;
mod mounts;
mod namespaces;
mod nodes;
mod process;
mod tree;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, Mount, Process, Spec};
use protocol::Id;

use self::nodes::Owner;
use self::tree::Tree;
use super::report::Kind;
use super::seccomp::{self, Filter, SeccompError};
use super::{Create, identity};
use crate::container::paths;
use crate::container::resources::{self, Present};
use crate::init::POD_CGROUP;
use crate::pod::sysctl::{self, SysctlError};

/// The specification asks for what cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdaptError {
    #[error("the specification has no {0}")]
    Missing(&'static str),
    #[error("root file system {path:?}")]
    Root {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("user {0} is not mapped in the container's user namespace")]
    NotMapped(u32),
    #[error("a container in a user namespace cannot share the pod's PID namespace")]
    SharedPidNamespace,
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error("mount the pod's message queues on {path:?}")]
    Queues {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{0:?} of the container: links of its image lead in a circle there, or are too many; \
         mount at the path that is meant"
    )]
    Links(PathBuf),
    #[error("make a node in the guest for device {path:?}")]
    Nodes {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(
        "device {path:?}: the guest's kernel has none of number {major}:{minor}, and only block devices come from the host"
    )]
    Device {
        path: PathBuf,
        major: i64,
        minor: i64,
    },
}

impl AdaptError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Seccomp(SeccompError::Notify) | Self::SharedPidNamespace => Kind::Unimplemented,
            Self::Seccomp(SeccompError::Read(_)) | Self::Queues { .. } | Self::Nodes { .. } => {
                Kind::Internal
            }
            Self::Root { .. } => Kind::NotFound,
            Self::Device { .. }
            | Self::Links(_)
            | Self::Missing(_)
            | Self::NotMapped(_)
            | Self::Sysctl(_)
            | Self::Seccomp(_) => Kind::Invalid,
        }
    }
}

/// A specification for libcontainer, and what it is not to do itself.
pub(super) struct Adapted {
    pub(super) spec: Spec,
    /// The program, as it is to run in the end.
    pub(super) process: Process,
    pub(super) filter: Option<Filter>,
}

/// Makes `spec` fit for container `id` in this guest.
pub(super) fn adapt(mut spec: Spec, id: &Id, order: &Create) -> Result<Adapted, AdaptError> {
    let root = spec
        .root()
        .as_ref()
        .ok_or(AdaptError::Missing("root"))?
        .path()
        .clone();
    let no_root = |source| AdaptError::Root {
        path: root.clone(),
        source,
    };
    std::fs::metadata(&root).map_err(no_root)?;
    let mut linux = spec
        .linux_mut()
        .take()
        .ok_or(AdaptError::Missing("linux section"))?;
    let mut process = spec
        .process_mut()
        .take()
        .ok_or(AdaptError::Missing("process"))?;

    for (name, value) in linux.sysctl_mut().take().into_iter().flatten() {
        sysctl::set(&name, &value)?;
    }
    let confined = namespaces::adapt(&mut linux, order)?;
    let filter = linux
        .seccomp_mut()
        .take()
        .as_ref()
        .map(seccomp::compile)
        .transpose()?;
    adapt_linux(&mut linux, id);

    identity::ensure_home(&mut process, &root);
    let user = process.user().uid();
    let outside = identity::outside(user, linux.uid_mappings().as_deref());
    identity::own_pipes(outside.ok_or(AdaptError::NotMapped(user))?);

    // libcontainer requires the list for user namespaces, even an empty one.
    let mounts = spec.mounts_mut().get_or_insert_default();
    adapt_files(&root, mounts, &mut linux, (id, confined))?;
    // The pod has one host name, set with the sandbox.
    spec.set_hostname(None).set_domainname(None);
    spec.set_linux(Some(linux));
    spec.set_process(Some(process::stand_in(&process, order.console.is_some())));
    Ok(Adapted {
        spec,
        process,
        filter,
    })
}

/// What is mounted and made in the container's `root`. The device nodes that are
/// mounted come last, as they may be below other mounts.
fn adapt_files(
    root: &Path,
    mounts: &mut Vec<Mount>,
    linux: &mut Linux,
    (container, confined): (&Id, bool),
) -> Result<(), AdaptError> {
    let mut wanted = wanted_devices(linux)?;
    dev::adapt(mounts, &mut wanted, confined);
    devices::unique(&mut wanted);
    mounts::adapt(mounts, confined)?;

    let mut tree = Tree::of(root);
    for mount in mounts.iter_mut() {
        tree.add(mount)?;
    }
    // A mount has brought it.
    wanted.retain(|device| !tree.has_mount_at(device.path()));
    let owner = Owner {
        container,
        confined,
        users: linux.uid_mappings().as_deref(),
        groups: linux.gid_mappings().as_deref(),
    };
    for mut mount in nodes::adapt(&mut wanted, &owner)? {
        tree.add(&mut mount)?;
        mounts.push(mount);
    }
    linux.set_devices(Some(wanted));
    Ok(())
}

/// The devices of `linux` that the guest has.
fn wanted_devices(linux: &mut Linux) -> Result<Vec<LinuxDevice>, AdaptError> {
    let mut wanted = linux.devices_mut().take().unwrap_or_default();
    let resources = linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_deref());
    let rules = rules.unwrap_or_default();
    if devices::allow_all(rules) {
        loop_devices::make();
    }
    devices::adapt(&mut wanted, rules)?;
    Ok(wanted)
}

fn adapt_linux(linux: &mut Linux, id: &Id) {
    linux.set_cgroups_path(Some(cgroup_path(id)));
    linux
        .set_mount_label(None)
        .set_intel_rdt(None)
        .set_net_devices(None);
    // containerd's words are mount(8)'s, libcontainer's the specification's.
    let propagation = linux.rootfs_propagation().as_deref().map(one_word);
    linux.set_rootfs_propagation(propagation);
    if let Some(limits) = linux.resources_mut() {
        resources::adapt(limits, &paths::cgroup(id), &Present::read());
    }
}

/// `rslave` as `slave`: of a root file system it is recursive either way.
fn one_word(propagation: &str) -> String {
    let known = ["rshared", "rslave", "rprivate", "runbindable"];
    match known.contains(&propagation) {
        true => propagation.trim_start_matches('r').to_owned(),
        false => propagation.to_owned(),
    }
}

/// The cgroup as a path from the root of the cgroup file system.
fn cgroup_path(id: &Id) -> PathBuf {
    let pod = POD_CGROUP.trim_start_matches("/sys/fs/cgroup");
    PathBuf::from(pod).join(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Create {
        Create {
            container: "c1".into(),
            console: None,
            pid_namespace: None,
            in_user_namespace: false,
        }
    }

    fn adapted(json: &str) -> Result<Adapted, AdaptError> {
        let spec = serde_json::from_str(json).unwrap();
        adapt(spec, &Id::new("c1").unwrap(), &order())
    }

    const PROCESS: &str = r#""process": {"user": {"uid": 1, "gid": 1}, "args": ["sh"], "cwd": "/srv",
        "noNewPrivileges": false, "apparmorProfile": "cri-containerd.apparmor.d"}"#;

    #[test]
    fn what_is_the_hosts_goes_and_what_is_the_containers_stays() {
        let adapted = adapted(&format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "/"}}, {PROCESS},
                "hostname": "web-0",
                "linux": {{"cgroupsPath": "/kubepods/besteffort/pod1/c1", "mountLabel": "x",
                           "rootfsPropagation": "rslave",
                           "namespaces": [{{"type": "pid"}}], "maskedPaths": ["/proc/kcore"]}}}}"#
        ))
        .unwrap();
        let linux = adapted.spec.linux().as_ref().unwrap();
        assert_eq!(linux.cgroups_path().as_deref(), Some("/pod/c1".as_ref()));
        assert_eq!(linux.mount_label(), &None);
        assert_eq!(linux.rootfs_propagation().as_deref(), Some("slave"));
        assert_eq!(linux.masked_paths().as_ref().unwrap(), &["/proc/kcore"]);
        assert_eq!(adapted.spec.hostname(), &None);
        let stand_in = adapted.spec.process().as_ref().unwrap();
        assert_eq!(stand_in.apparmor_profile(), &None);
        assert_eq!(stand_in.cwd().to_str(), Some("/"));
        assert_eq!(adapted.process.cwd().to_str(), Some("/srv"));
    }

    #[test]
    fn a_user_outside_the_mapping_is_refused() {
        let result = adapted(&format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "/"}}, {PROCESS}, "mounts": [],
                "linux": {{"namespaces": [{{"type": "user"}}],
                    "uidMappings": [{{"containerID": 0, "hostID": 65536, "size": 1}}],
                    "gidMappings": [{{"containerID": 0, "hostID": 65536, "size": 1}}]}}}}"#
        ));
        assert!(matches!(result, Err(AdaptError::NotMapped(1))));
    }
}
