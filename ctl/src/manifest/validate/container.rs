//! Containers: what they refer to must be there, or be of the pod.

use crate::manifest::container::{Container, EnvVar, Resources};
use crate::manifest::error::Refusal;
use crate::manifest::pod::Pod;
use crate::manifest::to_cri::env;
use crate::manifest::volume::VolumeMount;

use super::{Note, indexed, is_dns_name};

const NO_API_SERVER: &str = "lives in an API server, which there is none of here";

pub(super) fn check(field: &str, pod: &Pod, container: &Container) -> Result<Vec<Note>, Refusal> {
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
pub(super) fn resource_notes(field: &str, resources: &Resources) -> Vec<Note> {
    let known = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let unknown = resources.limits.keys().filter(|name| !known(name));
    let path = |name| format!("{field}.resources.limits.{name}");
    unknown.map(|name| (path(name), "not enforced")).collect()
}
