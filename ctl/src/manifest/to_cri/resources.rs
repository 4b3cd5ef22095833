//! Requests and limits, of a container and summed up for the pod.

use std::collections::BTreeMap;

use crate::cri::v1::{HugepageLimit, LinuxContainerResources};
use crate::manifest::{Container, Pod, Quantity, ResourceList, Resources};

/// kubelet's period of the CPU quota, microseconds.
const PERIOD: i64 = 100_000;
/// The least quota that the kernel takes, microseconds.
const MIN_QUOTA: i64 = 1000;
/// The kernel's bounds of CPU shares.
const SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;

/// Requests with the API server's default: where there is none, the limit.
pub(super) fn requests(resources: &Resources) -> ResourceList {
    let mut requests = resources.limits.clone();
    requests.extend(resources.requests.clone());
    requests
}

/// What the runtime is told about one container.
pub(super) fn of_container(container: &Container) -> LinuxContainerResources {
    let Resources { limits, .. } = &container.resources;
    let mut linux = linux(&requests(&container.resources), limits);
    linux.hugepage_limits = hugepages(limits);
    linux
}

/// The pod's sums, which size its VM.
pub(super) fn of_pod(pod: &Pod) -> LinuxContainerResources {
    let sum = |of: fn(&Resources) -> ResourceList| {
        let mut total = pod_total(pod, |container| of(&container.resources));
        let own = of(&pod.spec.resources);
        total.extend(
            own.into_iter()
                .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")),
        );
        total
    };
    linux(&sum(requests), &sum(|resources| resources.limits.clone()))
}

/// What the pod costs beside its containers.
pub(super) fn of_overhead(pod: &Pod) -> LinuxContainerResources {
    match pod.spec.overhead.is_empty() {
        true => LinuxContainerResources::default(),
        false => linux(&pod.spec.overhead, &pod.spec.overhead),
    }
}

/// The containers run together; each init container runs beside the sidecars
/// that were started before it. The pod needs the largest of these sums.
fn pod_total(pod: &Pod, of: impl Fn(&Container) -> ResourceList) -> ResourceList {
    let mut sidecars = ResourceList::new();
    let mut peak = ResourceList::new();
    for container in &pod.spec.init_containers {
        let mut now = sidecars.clone();
        add(&mut now, of(container));
        if container.is_sidecar() {
            sidecars.clone_from(&now);
        }
        raise(&mut peak, now);
    }
    let mut together = sidecars;
    for container in &pod.spec.containers {
        add(&mut together, of(container));
    }
    raise(&mut together, peak);
    together
}

fn add(total: &mut ResourceList, amounts: ResourceList) {
    for (name, amount) in amounts {
        let sum = total.entry(name).or_default();
        *sum = *sum + amount;
    }
}

fn raise(total: &mut ResourceList, amounts: ResourceList) {
    for (name, amount) in amounts {
        let most = total.entry(name).or_default();
        *most = (*most).max(amount);
    }
}

fn linux(requests: &ResourceList, limits: &ResourceList) -> LinuxContainerResources {
    let amount = |list: &ResourceList, name| list.get(name).copied().unwrap_or_default();
    LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: quota(amount(limits, "cpu")),
        cpu_shares: shares(amount(requests, "cpu")),
        memory_limit_in_bytes: amount(limits, "memory").value(),
        ..Default::default()
    }
}

/// Microseconds per period; 0 for no limit.
fn quota(cpus: Quantity) -> i64 {
    match cpus.milli() {
        0 => 0,
        milli => (milli.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA),
    }
}

fn shares(cpus: Quantity) -> i64 {
    let shares = cpus.milli().saturating_mul(1024) / 1000;
    shares.clamp(*SHARES.start(), *SHARES.end())
}

fn hugepages(limits: &BTreeMap<String, Quantity>) -> Vec<HugepageLimit> {
    let named = limits.iter().filter_map(|(name, limit)| {
        let size = name.strip_prefix("hugepages-")?;
        Some(HugepageLimit {
            // The kernel writes 2MB where Kubernetes writes 2Mi.
            page_size: size.replace('i', "") + "B",
            limit: u64::try_from(limit.value()).ok()?,
        })
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    /// Quota, shares and memory of the pod.
    fn sums(spec: &str) -> (i64, i64, i64) {
        let linux = of_pod(&pod(spec));
        assert_eq!(linux.cpu_period, 100_000);
        (
            linux.cpu_quota,
            linux.cpu_shares,
            linux.memory_limit_in_bytes,
        )
    }

    fn containers(list: &[&str]) -> String {
        let item = |(i, resources): (usize, &&str)| {
            format!("- {{name: c{i}, image: i, resources: {{{resources}}}}}\n")
        };
        let items = list.iter().enumerate().map(item).collect::<String>();
        format!("containers:\n{items}")
    }

    #[test]
    fn a_pod_without_limits_has_no_sums() {
        assert_eq!(sums(&containers(&[""])), (0, 2, 0));
        assert_eq!(
            sums(&containers(&["requests: {cpu: 2, memory: 1Gi}"])),
            (0, 2048, 0)
        );
    }

    #[test]
    fn limits_of_containers_add_up_and_stand_in_for_requests() {
        let two = containers(&["limits: {cpu: 250m, memory: 100Mi}", "limits: {cpu: 1250m}"]);
        assert_eq!(sums(&two), (150_000, 1536, 100 << 20));
    }

    #[test]
    fn the_largest_init_container_counts_where_it_is_more() {
        let init = "initContainers:
- {name: i0, image: i, resources: {limits: {cpu: 3, memory: 10Mi}}}
- {name: i1, image: i, resources: {limits: {cpu: 1, memory: 20Mi}}}
";
        let spec = format!("{init}{}", containers(&["limits: {cpu: 1, memory: 100Mi}"]));
        assert_eq!(sums(&spec), (300_000, 3072, 100 << 20));
    }

    #[test]
    fn a_sidecar_runs_beside_the_containers_and_later_init_containers() {
        let init = "initContainers:
- {name: i0, image: i, resources: {limits: {cpu: 2}}}
- {name: side, image: i, restartPolicy: Always, resources: {limits: {cpu: 1, memory: 50Mi}}}
- {name: i1, image: i, resources: {limits: {cpu: 4, memory: 10Mi}}}
";
        let spec = format!("{init}{}", containers(&["limits: {cpu: 1, memory: 100Mi}"]));
        assert_eq!(sums(&spec), (500_000, 5120, 150 << 20));
    }

    #[test]
    fn resources_of_the_pod_replace_the_sums() {
        let spec = format!(
            "resources: {{limits: {{cpu: 2}}}}\n{}",
            containers(&["limits: {memory: 1Mi}"])
        );
        assert_eq!(sums(&spec), (200_000, 2048, 1 << 20));
    }

    #[test]
    fn overhead_is_told_apart() {
        let spec = format!(
            "overhead: {{cpu: 250m, memory: 160Mi}}\n{}",
            containers(&[""])
        );
        let overhead = of_overhead(&pod(&spec));
        assert_eq!(
            (overhead.cpu_quota, overhead.memory_limit_in_bytes),
            (25_000, 160 << 20)
        );
        assert_eq!(
            of_overhead(&pod(&containers(&[""]))),
            LinuxContainerResources::default()
        );
    }

    #[test]
    fn small_limits_are_raised_to_what_the_kernel_takes() {
        assert_eq!(sums(&containers(&["limits: {cpu: 1m}"])), (1000, 2, 0));
        assert_eq!(sums(&containers(&["limits: {cpu: 1000}"])).1, 262_144);
    }

    #[test]
    fn huge_pages_are_named_as_the_kernel_does() {
        let pod = pod(&containers(&["limits: {hugepages-2Mi: 4Mi}"]));
        let limits = of_container(&pod.spec.containers[0]).hugepage_limits;
        let expected = HugepageLimit {
            page_size: "2MB".into(),
            limit: 4 << 20,
        };
        assert_eq!(limits, [expected]);
    }
}
