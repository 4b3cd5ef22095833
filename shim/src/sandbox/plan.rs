//! What a sandbox is to be, read from its OCI spec and the configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use config::{Config, Loaded};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::Range;
use crate::host_cgroup::{GroupPath, PathError, huge_pages_of_pod};
use crate::ids::IdMap;
use crate::network::NetworkError;
use crate::sizing::{Limits, Size, SizingError};

/// Bytes of a pod's /dev/shm unless something says otherwise: what container
/// runtimes give.
const SHM_SIZE: u64 = 64 << 20;

/// Everything that a boot needs to know.
pub(crate) struct Plan {
    pub(crate) id: String,
    /// containerd's.
    pub(crate) namespace: String,
    pub(crate) config: Config,
    pub(crate) size: Size,
    /// What the size is for.
    pub(crate) limits: Limits,
    pub(crate) hostname: String,
    pub(crate) sysctls: HashMap<String, String>,
    pub(crate) shm_size: u64,
    /// Of the pod's user namespace, if it has one.
    pub(crate) ids: Option<IdMap>,
    /// Network namespace of the pod on the host; `None` for a guest with
    /// nothing but its loopback.
    pub(crate) netns: Option<PathBuf>,
    /// The pod's control group on the host; `None` for the shim's own.
    pub(crate) cgroup: Option<GroupPath>,
    /// When the shim began.
    pub(crate) began: Instant,
}

/// Why there is no such sandbox. All of it is the request's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Annotation(#[from] config::Error),
    #[error(transparent)]
    Size(#[from] SizingError),
    #[error(transparent)]
    Network(NetworkError),
    #[error(transparent)]
    Cgroup(#[from] PathError),
    #[error(
        "a pod with a user namespace (hostUsers: false) whose network is made after its sandbox, as \
         containerd 1.7 does it: the VM would have none; use containerd 2, or hostUsers: true"
    )]
    LateNetwork,
}

impl Plan {
    /// The plan of a pod (`lone` false: its containers' limits come as sums in
    /// annotations) or of a container without one.
    pub(crate) fn new(
        id: &str,
        namespace: &str,
        spec: &Spec,
        lone: bool,
        mut loaded: Loaded,
        began: Instant,
    ) -> Result<Self, PlanError> {
        let annotation = |name: &str| {
            spec.annotations()
                .as_ref()
                .and_then(|all| all.get(name))
                .map(String::as_str)
        };
        loaded.apply_annotations(annotation)?;
        let config = loaded.config();
        let mut limits = match lone {
            true => Limits::of_container(spec),
            false => Limits::of_sandbox(annotation)?,
        };
        let cgroup = GroupPath::of(spec)?;
        if let Some(path) = &cgroup {
            let of_pod = huge_pages_of_pod(path);
            limits.huge_pages = limits.huge_pages.max(of_pod);
        }
        let (ids, netns) = (ids(spec), netns(spec).map_err(PlanError::Network)?);
        if !lone && ids.is_some() && netns.is_none() {
            return Err(PlanError::LateNetwork);
        }
        Ok(Self {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            size: Size::of(&config.guest, &limits)?,
            limits,
            config,
            hostname: spec.hostname().clone().unwrap_or_default(),
            sysctls: if lone { HashMap::new() } else { sysctls(spec) },
            shm_size: SHM_SIZE,
            ids,
            netns,
            cgroup,
            began,
        })
    }

    /// The sizes that the machine is made for.
    pub(super) fn range(&self) -> Range {
        Range::of(&self.config.guest, self.size)
    }
}

fn sysctls(spec: &Spec) -> HashMap<String, String> {
    spec.linux()
        .as_ref()
        .and_then(|linux| linux.sysctl().clone())
        .unwrap_or_default()
}

fn ids(spec: &Spec) -> Option<IdMap> {
    let linux = spec.linux().as_ref()?;
    let mut namespaces = linux.namespaces().iter().flatten();
    namespaces.find(|namespace| namespace.typ() == LinuxNamespaceType::User)?;
    IdMap::of(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref())
}

fn netns(spec: &Spec) -> Result<Option<PathBuf>, NetworkError> {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    let network = namespaces.and_then(|all| {
        all.iter()
            .find(|ns| ns.typ() == LinuxNamespaceType::Network)
    });
    match network {
        Some(namespace) => Ok(namespace.path().clone()),
        None => Err(NetworkError::HostNetwork),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(spec: serde_json::Value, lone: bool) -> Result<Plan, PlanError> {
        let spec: Spec = serde_json::from_value(spec).unwrap();
        Plan::new(
            "s",
            "k8s.io",
            &spec,
            lone,
            Loaded::defaults(),
            Instant::now(),
        )
    }

    #[test]
    fn the_pods_namespace_and_sysctls_are_taken() {
        let plan = plan(
            json!({
                "ociVersion": "1.0.2",
                "hostname": "h",
                "linux": {
                    "namespaces": [{"type": "network", "path": "/run/netns/cni-1"}],
                    "sysctl": {"net.core.somaxconn": "1024"}
                },
                "annotations": {"io.kubernetes.cri.sandbox-memory": "104857600"}
            }),
            false,
        )
        .unwrap();
        assert_eq!(plan.netns, Some("/run/netns/cni-1".into()));
        assert_eq!(plan.sysctls["net.core.somaxconn"], "1024");
        assert_eq!((plan.hostname.as_str(), plan.size.memory_mib), ("h", 2148));
    }

    #[test]
    fn host_network_is_refused_in_words() {
        let spec = json!({"ociVersion": "1.0.2", "linux": {"namespaces": [{"type": "pid"}]}});
        let error = plan(spec, false).err().unwrap().to_string();
        assert!(
            error.contains("cannot have the host's network (hostNetwork: true)"),
            "{error}"
        );
    }

    #[test]
    fn a_user_namespace_wants_a_network_that_is_there() {
        let spec = |network| {
            let range = [json!({"containerID": 0, "hostID": 65536, "size": 65536})];
            json!({"ociVersion": "1.0.2", "linux": {
                "namespaces": [{"type": "user"}, network],
                "uidMappings": range, "gidMappings": range
            }})
        };
        let there = json!({"type": "network", "path": "/run/netns/cni-1"});
        let ids = plan(spec(there), false).unwrap().ids.unwrap();
        assert_eq!((ids.user(0), ids.group(1)), (Some(65536), Some(65537)));
        let later = || spec(json!({"type": "network"}));
        assert!(matches!(plan(later(), false), Err(PlanError::LateNetwork)));
        assert!(plan(later(), true).is_ok());
    }

    #[test]
    fn a_lone_container_without_a_network_gets_none() {
        let spec = json!({"ociVersion": "1.0.2", "linux": {"namespaces": [{"type": "network"}]}});
        assert_eq!(plan(spec, true).unwrap().netns, None);
    }
}
