//! What the API server would refuse, and what cannot be had without one.

use std::collections::BTreeSet;

use super::container::{Container, EnvVar, Resources};
use super::error::Refusal;
use super::pod::{Pod, PodSpec};
use super::to_cri::env;
use super::volume::{Medium, Volume, VolumeMount};

const NO_API_SERVER: &str = "lives in an API server, which there is none of here";

/// A field that has no effect, and why.
pub(super) type Note = (String, &'static str);

/// Checks a pod and returns what has no effect.
///
/// # Errors
/// The first field that rules the pod out.
pub(super) fn check(pod: &Pod) -> Result<Vec<Note>, Refusal> {
    check_metadata(pod)?;
    let spec = &pod.spec;
    check_host_use(spec)?;
    unique(
        "spec.volumes",
        spec.volumes.iter().map(|volume| volume.name.as_str()),
    )?;
    unique(
        "spec containers",
        pod.all_containers().map(|c| c.name.as_str()),
    )?;
    let mut notes = resource_notes("spec", &spec.resources);
    for (field, volume) in indexed("spec.volumes", &spec.volumes) {
        notes.extend(check_volume(&field, volume)?);
    }
    for (field, container) in indexed("spec.initContainers", &spec.init_containers) {
        if container.restart_policy.is_some() && !container.is_sidecar() {
            return Err(Refusal::new(
                field,
                "an init container's restartPolicy can only be Always",
            ));
        }
        notes.extend(check_container(&field, pod, container)?);
    }
    for (field, container) in indexed("spec.containers", &spec.containers) {
        if container.restart_policy.is_some() {
            let reason = "set it for the pod; a container's own is not supported";
            return Err(Refusal::new(format!("{field}.restartPolicy"), reason));
        }
        notes.extend(check_container(&field, pod, container)?);
    }
    Ok(notes)
}

fn check_metadata(pod: &Pod) -> Result<(), Refusal> {
    // They become parts of paths.
    let rules = [
        ("metadata.name", &pod.metadata.name, 253, true),
        ("metadata.namespace", &pod.metadata.namespace, 63, false),
        ("metadata.uid", &pod.metadata.uid, 128, false),
    ];
    for (field, text, longest, dots) in rules {
        if !is_dns_name(text, longest, dots) {
            let reason = "must be lower case letters, digits and dashes, as in a DNS name";
            return Err(Refusal::new(field, reason));
        }
    }
    if pod.spec.containers.is_empty() {
        return Err(Refusal::new("spec.containers", "a pod needs a container"));
    }
    Ok(())
}

fn check_host_use(spec: &PodSpec) -> Result<(), Refusal> {
    if !spec.host_users {
        let reason = "a user namespace needs kubelet, which allots its ids";
        return Err(Refusal::new("spec.hostUsers", reason));
    }
    if spec.host_pid && spec.share_process_namespace {
        let reason = "contradicts hostPID";
        return Err(Refusal::new("spec.shareProcessNamespace", reason));
    }
    Ok(())
}

fn check_volume(field: &str, volume: &Volume) -> Result<Option<Note>, Refusal> {
    if !is_dns_name(&volume.name, 63, false) {
        let reason = "must be lower case letters, digits and dashes";
        return Err(Refusal::new(format!("{field}.name"), reason));
    }
    if let Some(source) = volume.refused_source() {
        let reason = "only hostPath and emptyDir can be had without Kubernetes";
        return Err(Refusal::new(format!("{field}.{source}"), reason));
    }
    match (&volume.host_path, &volume.empty_dir) {
        (Some(host), None) if !is_plain_absolute(&host.path) => {
            let reason = "must be absolute and without `..`";
            Err(Refusal::new(format!("{field}.hostPath.path"), reason))
        }
        (Some(_), None) => Ok(None),
        (None, Some(empty)) => match (&empty.medium, empty.size_limit) {
            (Medium::Unknown(_), _) => {
                let reason = "only the disk (empty) and Memory are supported";
                Err(Refusal::new(format!("{field}.emptyDir.medium"), reason))
            }
            (Medium::Disk, Some(_)) => {
                let reason = "not enforced for a volume on disk";
                Ok(Some((format!("{field}.emptyDir.sizeLimit"), reason)))
            }
            _ => Ok(None),
        },
        _ => Err(Refusal::new(
            field,
            "needs exactly one of hostPath and emptyDir",
        )),
    }
}

fn check_container(field: &str, pod: &Pod, container: &Container) -> Result<Vec<Note>, Refusal> {
    if !is_dns_name(&container.name, 63, false) {
        let reason = "must be lower case letters, digits and dashes";
        return Err(Refusal::new(format!("{field}.name"), reason));
    }
    if container.image.trim().is_empty() {
        return Err(Refusal::new(format!("{field}.image"), "must not be empty"));
    }
    if !container.env_from.is_empty() {
        return Err(Refusal::new(format!("{field}.envFrom"), NO_API_SERVER));
    }
    for (field, variable) in indexed(&format!("{field}.env"), &container.env) {
        check_variable(&field, pod, container, variable)?;
    }
    for (field, mount) in indexed(&format!("{field}.volumeMounts"), &container.volume_mounts) {
        check_mount(&field, pod, mount)?;
    }
    check_resources(field, &container.resources)?;
    Ok(resource_notes(field, &container.resources))
}

fn check_variable(
    field: &str,
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
) -> Result<(), Refusal> {
    if variable.name.is_empty() || variable.name.contains('=') {
        return Err(Refusal::new(
            format!("{field}.name"),
            "must not be empty nor contain `=`",
        ));
    }
    let Some(source) = &variable.value_from else {
        return Ok(());
    };
    let field = format!("{field}.valueFrom");
    let remote = [
        ("configMapKeyRef", &source.config_map_key_ref),
        ("secretKeyRef", &source.secret_key_ref),
    ];
    if let Some((name, _)) = remote.iter().find(|(_, present)| present.is_some()) {
        return Err(Refusal::new(format!("{field}.{name}"), NO_API_SERVER));
    }
    env::check_source(pod, container, source).map_err(|reason| Refusal::new(field, reason))
}

fn check_mount(field: &str, pod: &Pod, mount: &VolumeMount) -> Result<(), Refusal> {
    if !pod
        .spec
        .volumes
        .iter()
        .any(|volume| volume.name == mount.name)
    {
        return Err(Refusal::new(
            format!("{field}.name"),
            "names no volume of the pod",
        ));
    }
    if !mount.mount_path.starts_with('/') || mount.mount_path.contains(':') {
        let reason = "must be absolute and without `:`";
        return Err(Refusal::new(format!("{field}.mountPath"), reason));
    }
    if !mount.sub_path.is_empty() || !mount.sub_path_expr.is_empty() {
        let reason = "not supported; mount the volume, or a hostPath of the folder itself";
        return Err(Refusal::new(format!("{field}.subPath"), reason));
    }
    Ok(())
}

fn check_resources(field: &str, resources: &Resources) -> Result<(), Refusal> {
    for (name, request) in &resources.requests {
        if resources
            .limits
            .get(name)
            .is_some_and(|limit| limit < request)
        {
            let field = format!("{field}.resources.requests.{name}");
            return Err(Refusal::new(field, "must not be more than the limit"));
        }
    }
    Ok(())
}

/// Resources that the runtime has no notion of.
fn resource_notes(field: &str, resources: &Resources) -> Vec<Note> {
    let known = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let unknown = resources.limits.keys().filter(|name| !known(name));
    let path = |name| format!("{field}.resources.limits.{name}");
    unknown.map(|name| (path(name), "not enforced")).collect()
}

fn unique<'a>(field: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Refusal::new(
                format!("{field}: `{name}`"),
                "the name is used twice",
            ));
        }
    }
    Ok(())
}

fn indexed<'a, T>(field: &str, items: &'a [T]) -> impl Iterator<Item = (String, &'a T)> {
    items
        .iter()
        .enumerate()
        .map(move |(i, item)| (format!("{field}[{i}]"), item))
}

/// RFC 1123 label or, with `dots`, subdomain.
fn is_dns_name(text: &str, longest: usize, dots: bool) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= longest
        && text.starts_with(inner)
        && text.ends_with(inner)
        && text
            .chars()
            .all(|c| inner(c) || c == '-' || (dots && c == '.'))
}

fn is_plain_absolute(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The refusal of a pod whose spec has `spec` and whose container `c` has
    /// `container`.
    fn refusal(spec: &str, container: &str) -> String {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{{spec}
             containers: [{{name: c, image: i, {container}}}]}}}}"
        );
        let error = crate::manifest::parse(&text).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        cause.to_string()
    }

    #[test]
    fn what_lives_in_an_api_server_is_refused_by_name() {
        for (container, field) in [
            (
                "envFrom: [{secretRef: {name: s}}]",
                "spec.containers[0].envFrom",
            ),
            (
                "env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]",
                "spec.containers[0].env[0].valueFrom.configMapKeyRef",
            ),
            (
                "env: [{name: A, valueFrom: {secretKeyRef: {name: m, key: k}}}]",
                "spec.containers[0].env[0].valueFrom.secretKeyRef",
            ),
            (
                "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]",
                "spec.containers[0].env[0].valueFrom",
            ),
        ] {
            assert!(
                refusal("", container).starts_with(&format!("{field}: ")),
                "{container}"
            );
        }
        for source in [
            "configMap",
            "secret",
            "projected",
            "persistentVolumeClaim",
            "downwardAPI",
        ] {
            let message = refusal(&format!("volumes: [{{name: v, {source}: {{}}}}],"), "");
            assert!(
                message.starts_with(&format!("spec.volumes[0].{source}: ")),
                "{message}"
            );
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for (spec, container, part) in [
            ("hostUsers: false,", "", "spec.hostUsers"),
            (
                "hostPID: true, shareProcessNamespace: true,",
                "",
                "shareProcessNamespace",
            ),
            ("volumes: [{name: v}],", "", "exactly one of"),
            (
                "volumes: [{name: v, hostPath: {path: a}}],",
                "",
                "must be absolute",
            ),
            (
                "volumes: [{name: v, hostPath: {path: /a/../b}}],",
                "",
                "without `..`",
            ),
            (
                "volumes: [{name: v, emptyDir: {medium: HugePages}}],",
                "",
                "emptyDir.medium",
            ),
            (
                "volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}],",
                "",
                "used twice",
            ),
            (
                "",
                "volumeMounts: [{name: v, mountPath: /v}]",
                "names no volume",
            ),
            ("initContainers: [{name: c, image: i}],", "", "used twice"),
            (
                "initContainers: [{name: d, image: i, restartPolicy: Never}],",
                "",
                "only be Always",
            ),
            ("", "restartPolicy: Always", "containers[0].restartPolicy"),
            (
                "",
                "resources: {limits: {cpu: 1}, requests: {cpu: 2}}",
                "requests.cpu",
            ),
            ("", "env: [{name: A=B}]", "env[0].name"),
            (
                "volumes: [{name: v, emptyDir: {}}],",
                "volumeMounts: [{name: v, mountPath: /v, subPath: s}]",
                "subPath",
            ),
        ] {
            let message = refusal(spec, container);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn names_become_parts_of_paths_and_are_checked() {
        for name in ["../x", "A", "a/b", "", "a.", "-a"] {
            let text = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: \"{name}\"}}, \
                spec: {{containers: [{{name: c, image: i}}]}}}}"
            );
            assert!(crate::manifest::parse(&text).is_err(), "{name}");
        }
        assert!(!is_dns_name(&"a".repeat(64), 63, false));
        assert!(is_dns_name("a.b-c.1", 63, true));
    }

    #[test]
    fn what_is_not_enforced_is_noted() {
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {
            volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}],
            containers: [{name: c, image: i, resources: {limits: {nvidia.com/gpu: 1}}}]}}";
        let warnings = crate::manifest::parse(text).unwrap().warnings;
        let fields: Vec<_> = warnings.iter().map(|w| w.field.as_str()).collect();
        let expected = [
            "spec.volumes[0].emptyDir.sizeLimit",
            "spec.containers[0].resources.limits.nvidia.com/gpu",
        ];
        assert_eq!(fields, expected);
    }
}
