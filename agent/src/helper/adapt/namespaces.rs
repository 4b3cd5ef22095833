//! Namespaces. One guest is one pod: its own IPC, UTS and network namespaces
//! are the pod's, so containers share them by staying in them.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType};

use super::AdaptError;
use crate::helper::Create;
use crate::pod::namespaces::{self, Namespace};

/// Rewrites the namespaces of `linux`. Whether the container gets a user
/// namespace of its own, which then confines what it may mount.
pub(super) fn adapt(linux: &mut Linux, order: &Create) -> Result<bool, AdaptError> {
    let asked = |kind| has(linux, kind);
    let mapped = linux.uid_mappings().iter().flatten().next().is_some();
    // Mappings make the namespace: a path to one of the host's leads nowhere.
    let user = asked(LinuxNamespaceType::User) && mapped;
    // The pod's, to which its other namespaces belong, or one of its own.
    let own = user && !order.in_user_namespace;
    if own && order.pid_namespace.is_some() {
        return Err(AdaptError::SharedPidNamespace);
    }
    let pid = asked(LinuxNamespaceType::Pid) || order.pid_namespace.is_some();
    let time = asked(LinuxNamespaceType::Time);

    let mut namespaces = vec![
        new(LinuxNamespaceType::Mount),
        new(LinuxNamespaceType::Cgroup),
    ];
    namespaces.extend(user.then(|| user_namespace(own)));
    namespaces.extend(time.then(|| new(LinuxNamespaceType::Time)));
    namespaces.extend(pid.then(|| pid_namespace(order.pid_namespace.as_deref())));
    linux.set_namespaces(Some(namespaces));
    if !user {
        linux.set_uid_mappings(None).set_gid_mappings(None);
    }
    if !time {
        linux.set_time_offsets(None);
    }
    Ok(own)
}

fn has(linux: &Linux, kind: LinuxNamespaceType) -> bool {
    linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == kind)
}

fn new(kind: LinuxNamespaceType) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    namespace
}

fn user_namespace(own: bool) -> LinuxNamespace {
    let mut namespace = new(LinuxNamespaceType::User);
    let pods = || namespaces::path(Namespace::User);
    namespace.set_path((!own).then(pods));
    namespace
}

fn pid_namespace(path: Option<&Path>) -> LinuxNamespace {
    let mut namespace = new(LinuxNamespaceType::Pid);
    namespace.set_path(path.map(Path::to_owned));
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(json: &str) -> Linux {
        serde_json::from_str(json).unwrap()
    }

    fn order(pid_namespace: Option<&str>) -> Create {
        Create {
            container: "c1".into(),
            console: None,
            pid_namespace: pid_namespace.map(Into::into),
            in_user_namespace: false,
        }
    }

    fn kinds(linux: &Linux) -> Vec<LinuxNamespaceType> {
        linux
            .namespaces()
            .iter()
            .flatten()
            .map(LinuxNamespace::typ)
            .collect()
    }

    #[test]
    fn the_hosts_paths_are_replaced_by_the_pods_own() {
        let mut linux = linux(
            r#"{"namespaces": [{"type": "pid"}, {"type": "mount"},
                {"type": "ipc", "path": "/proc/7/ns/ipc"}, {"type": "uts", "path": "/proc/7/ns/uts"},
                {"type": "network", "path": "/var/run/netns/cni-1"}]}"#,
        );
        assert!(!adapt(&mut linux, &order(None)).unwrap());
        let expected = [
            LinuxNamespaceType::Mount,
            LinuxNamespaceType::Cgroup,
            LinuxNamespaceType::Pid,
        ];
        assert_eq!(kinds(&linux), expected);
        assert!(
            linux
                .namespaces()
                .iter()
                .flatten()
                .all(|namespace| namespace.path().is_none())
        );
    }

    #[test]
    fn a_shared_pid_namespace_is_joined() {
        let mut linux = linux(r#"{"namespaces": [{"type": "pid", "path": "/proc/7/ns/pid"}]}"#);
        adapt(&mut linux, &order(Some("/proc/42/ns/pid"))).unwrap();
        let pid = linux.namespaces().iter().flatten().last().unwrap();
        assert_eq!(pid.path().as_deref(), Some(Path::new("/proc/42/ns/pid")));
    }

    #[test]
    fn the_hosts_pid_namespace_becomes_the_guests() {
        let mut linux = linux(r#"{"namespaces": [{"type": "mount"}]}"#);
        adapt(&mut linux, &order(None)).unwrap();
        assert!(!kinds(&linux).contains(&LinuxNamespaceType::Pid));
    }

    #[test]
    fn a_user_namespace_without_mappings_is_none() {
        let mut linux = linux(r#"{"namespaces": [{"type": "user", "path": "/proc/7/ns/user"}]}"#);
        assert!(!adapt(&mut linux, &order(None)).unwrap());
        assert!(!kinds(&linux).contains(&LinuxNamespaceType::User));
    }
}
