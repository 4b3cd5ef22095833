//! Security settings: the container's own, then the pod's, then kubelet's
//! defaults.

use crate::cri::v1::security_profile::ProfileType;
use crate::cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, SecurityProfile, SupplementalGroupsPolicy,
};
use crate::manifest::{
    Container, GroupsPolicy, Pod, PodSecurityContext, ProcMount, Profile, ProfileKind, Refusal,
};

use super::Image;

/// Where kubelet looks for seccomp profiles of the host.
const SECCOMP_ROOT: &str = "/var/lib/kubelet/seccomp";

/// What containers do not see of `/proc` and `/sys`, as kubelet has it.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What containers cannot write of `/proc`.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

pub(super) fn of_sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let security = &pod.spec.security_context;
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: security.run_as_user.map(int64),
        // A group without a user is refused by runtimes.
        run_as_group: security.run_as_user.and(security.run_as_group).map(int64),
        supplemental_groups: groups(security),
        supplemental_groups_policy: groups_policy(security),
        privileged: pod.all_containers().any(|c| c.security_context.privileged),
        seccomp: Some(runtime_default()),
        ..Default::default()
    }
}

/// # Errors
/// Where `runAsNonRoot` is asked for and the user is root or not known to be
/// another.
pub(super) fn of_container(
    pod: &Pod,
    container: &Container,
    image: &Image,
) -> Result<LinuxContainerSecurityContext, Refusal> {
    let (of_pod, own) = (&pod.spec.security_context, &container.security_context);
    let (user, username) = user(of_pod, container, image)?;
    let seccomp = own
        .seccomp_profile
        .as_ref()
        .or(of_pod.seccomp_profile.as_ref());
    let apparmor = own
        .app_armor_profile
        .as_ref()
        .or(of_pod.app_armor_profile.as_ref());
    let (masked, read_only) = match own.proc_mount {
        ProcMount::Default => (MASKED, READ_ONLY),
        ProcMount::Unmasked => (&[][..], &[][..]),
    };
    Ok(LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: own.capabilities.add.clone(),
            drop_capabilities: own.capabilities.drop.clone(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: own.privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: user,
        run_as_username: username,
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int64),
        supplemental_groups: groups(of_pod),
        supplemental_groups_policy: groups_policy(of_pod),
        readonly_rootfs: own.read_only_root_filesystem,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: masked.iter().copied().map(ToOwned::to_owned).collect(),
        readonly_paths: read_only.iter().copied().map(ToOwned::to_owned).collect(),
        seccomp: Some(seccomp_profile(seccomp, own.privileged)),
        apparmor: apparmor.map(|profile| self::profile(profile, |name| name.to_owned())),
        ..Default::default()
    })
}

/// User id or name of the container: as given, else the image's.
fn user(
    of_pod: &PodSecurityContext,
    container: &Container,
    image: &Image,
) -> Result<(Option<Int64Value>, String), Refusal> {
    let own = &container.security_context;
    let given = own.run_as_user.or(of_pod.run_as_user).map(i64::from);
    let id = given.or(image.uid);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        check_non_root(container, id, image)?;
    }
    match id {
        Some(value) => Ok((Some(Int64Value { value }), String::new())),
        None => Ok((None, image.username.clone())),
    }
}

fn check_non_root(container: &Container, id: Option<i64>, image: &Image) -> Result<(), Refusal> {
    let reason = match id {
        Some(0) => "the container would run as root; set runAsUser",
        // An image that names nobody runs as root.
        None if image.username.is_empty() => "the image runs as root; set runAsUser",
        None => "the image names its user, who may be root; set runAsUser",
        Some(_) => return Ok(()),
    };
    let field = format!("container {} runAsNonRoot", container.name);
    Err(Refusal::new(field, reason))
}

pub(super) fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = &pod.spec;
    let host_or = |host: bool, otherwise| if host { NamespaceMode::Node } else { otherwise };
    let pid = match spec.share_process_namespace {
        true => NamespaceMode::Pod,
        false => NamespaceMode::Container,
    };
    NamespaceOption {
        network: host_or(spec.host_network, NamespaceMode::Pod).into(),
        pid: host_or(spec.host_pid, pid).into(),
        ipc: host_or(spec.host_ipc, NamespaceMode::Pod).into(),
        ..Default::default()
    }
}

fn groups(security: &PodSecurityContext) -> Vec<i64> {
    let all = security
        .fs_group
        .iter()
        .chain(&security.supplemental_groups);
    all.copied().map(i64::from).collect()
}

fn groups_policy(security: &PodSecurityContext) -> i32 {
    match security.supplemental_groups_policy {
        Some(GroupsPolicy::Strict) => SupplementalGroupsPolicy::Strict.into(),
        Some(GroupsPolicy::Merge) | None => SupplementalGroupsPolicy::Merge.into(),
    }
}

fn int64(id: u32) -> Int64Value {
    Int64Value {
        value: i64::from(id),
    }
}

fn runtime_default() -> SecurityProfile {
    SecurityProfile {
        profile_type: ProfileType::RuntimeDefault.into(),
        localhost_ref: String::new(),
    }
}

/// Without a profile there is no filter, as kubelet without `seccompDefault`.
fn seccomp_profile(wanted: Option<&Profile>, privileged: bool) -> SecurityProfile {
    match wanted {
        Some(wanted) if !privileged => profile(wanted, |name| format!("{SECCOMP_ROOT}/{name}")),
        _ => SecurityProfile {
            profile_type: ProfileType::Unconfined.into(),
            localhost_ref: String::new(),
        },
    }
}

fn profile(wanted: &Profile, reference: impl Fn(&str) -> String) -> SecurityProfile {
    let (kind, name) = match wanted.kind {
        ProfileKind::RuntimeDefault => (ProfileType::RuntimeDefault, None),
        ProfileKind::Unconfined => (ProfileType::Unconfined, None),
        ProfileKind::Localhost => (ProfileType::Localhost, wanted.localhost_profile.as_deref()),
    };
    SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: name.map(reference).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    fn security(
        of_pod: &str,
        own: &str,
        image: &Image,
    ) -> Result<LinuxContainerSecurityContext, Refusal> {
        let pod = pod(&format!(
            "securityContext: {{{of_pod}}}
containers: [{{name: c, image: i, securityContext: {{{own}}}}}]"
        ));
        of_container(&pod, &pod.spec.containers[0], image)
    }

    fn image(uid: Option<i64>, username: &str) -> Image {
        Image {
            id: "sha256:1".into(),
            uid,
            username: username.into(),
        }
    }

    fn id(value: i64) -> Option<Int64Value> {
        Some(Int64Value { value })
    }

    #[test]
    fn the_user_is_the_containers_then_the_pods_then_the_images() {
        let user = |of_pod: &str, own: &str, image: &Image| {
            let context = security(of_pod, own, image).unwrap();
            (context.run_as_user, context.run_as_username)
        };
        let named = image(None, "nobody");
        assert_eq!(
            user("runAsUser: 1", "runAsUser: 2", &named),
            (id(2), String::new())
        );
        assert_eq!(user("runAsUser: 1", "", &named), (id(1), String::new()));
        assert_eq!(user("", "", &image(Some(7), "")), (id(7), String::new()));
        assert_eq!(user("", "", &named), (None, "nobody".to_owned()));
    }

    #[test]
    fn run_as_non_root_wants_to_know_the_user() {
        let with = |own: &str, image: &Image| security("runAsNonRoot: true", own, image).is_ok();
        assert!(with("", &image(Some(7), "")));
        assert!(with("runAsUser: 7", &image(Some(0), "")));
        assert!(with("runAsNonRoot: false", &image(Some(0), "")));
        assert!(!with("", &image(Some(0), "")));
        assert!(!with("", &image(None, "")));
        assert!(!with("", &image(None, "nobody")));
        assert!(!with("runAsUser: 0", &image(Some(7), "")));
    }

    #[test]
    fn hardening_is_carried_over() {
        let context = security(
            "supplementalGroups: [5], fsGroup: 6, supplementalGroupsPolicy: Strict, runAsGroup: 3",
            "readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, \
             capabilities: {add: [NET_ADMIN], drop: [ALL]}, seccompProfile: {type: RuntimeDefault}, \
             appArmorProfile: {type: Localhost, localhostProfile: p}",
            &image(Some(0), ""),
        )
        .unwrap();
        assert!(context.readonly_rootfs && context.no_new_privs && !context.privileged);
        let capabilities = context.capabilities.unwrap();
        assert_eq!(capabilities.add_capabilities, ["NET_ADMIN"]);
        assert_eq!(capabilities.drop_capabilities, ["ALL"]);
        assert_eq!(context.seccomp, Some(runtime_default()));
        assert_eq!(context.apparmor.unwrap().localhost_ref, "p");
        assert_eq!(context.supplemental_groups, [6, 5]);
        assert_eq!(
            context.supplemental_groups_policy,
            i32::from(SupplementalGroupsPolicy::Strict)
        );
        assert_eq!(context.run_as_group, id(3));
    }

    #[test]
    fn proc_is_masked_unless_told_otherwise() {
        let image = image(Some(0), "");
        assert!(
            security("", "", &image)
                .unwrap()
                .masked_paths
                .contains(&"/proc/kcore".to_owned())
        );
        assert_eq!(
            security("", "procMount: Unmasked", &image)
                .unwrap()
                .masked_paths,
            [""; 0]
        );
    }

    #[test]
    fn a_seccomp_profile_of_the_host_is_looked_for_where_kubelet_does() {
        let profile = "seccompProfile: {type: Localhost, localhostProfile: a/b.json}";
        let seccomp = |own: &str| {
            let context = security(profile, own, &image(Some(0), "")).unwrap();
            context.seccomp.unwrap()
        };
        assert_eq!(
            seccomp("").localhost_ref,
            "/var/lib/kubelet/seccomp/a/b.json"
        );
        let privileged = i32::from(ProfileType::Unconfined);
        assert_eq!(seccomp("privileged: true").profile_type, privileged);
    }

    #[test]
    fn namespaces_follow_the_pod() {
        let modes = |spec: &str| {
            let pod = pod(&format!("{spec}\ncontainers: [{{name: c, image: i}}]"));
            let options = namespaces(&pod);
            (options.network(), options.pid(), options.ipc())
        };
        use NamespaceMode::{Container, Node, Pod};
        assert_eq!(modes("hostname: h"), (Pod, Container, Pod));
        assert_eq!(modes("shareProcessNamespace: true"), (Pod, Pod, Pod));
        assert_eq!(
            modes("hostNetwork: true\nhostPID: true\nhostIPC: true"),
            (Node, Node, Node)
        );
    }
}
