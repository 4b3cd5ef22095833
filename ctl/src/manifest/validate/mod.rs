//! What the API server would refuse, and what cannot be had without one.

mod container;
mod volume;

use std::collections::BTreeSet;

use super::error::Refusal;
use super::pod::{Pod, PodSpec};

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
    let mut notes = container::resource_notes("spec", &spec.resources);
    for (field, volume) in indexed("spec.volumes", &spec.volumes) {
        notes.extend(volume::check(&field, volume)?);
    }
    for (field, container) in indexed("spec.initContainers", &spec.init_containers) {
        if container.restart_policy.is_some() && !container.is_sidecar() {
            return Err(Refusal::new(
                field,
                "an init container's restartPolicy can only be Always",
            ));
        }
        notes.extend(container::check(&field, pod, container)?);
    }
    for (field, container) in indexed("spec.containers", &spec.containers) {
        if container.restart_policy.is_some() {
            let reason = "set it for the pod; a container's own is not supported";
            return Err(Refusal::new(format!("{field}.restartPolicy"), reason));
        }
        notes.extend(container::check(&field, pod, container)?);
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

#[cfg(test)]
mod tests;
