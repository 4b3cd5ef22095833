//! Quality of service: who is killed first when the host runs out of memory.

use crate::manifest::{Container, Pod};

use super::resources::requests;

/// Kubernetes' classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

fn class(pod: &Pod) -> Class {
    let amounts: Vec<_> = pod
        .all_containers()
        .flat_map(|container| ["cpu", "memory"].map(|name| (container, name)))
        .map(|(container, name)| {
            let resources = &container.resources;
            let positive = |amount: &crate::manifest::Quantity| amount.milli() > 0;
            let limit = resources.limits.get(name).copied().filter(positive);
            let request = requests(resources).get(name).copied().filter(positive);
            (limit, request)
        })
        .collect();
    if amounts.iter().all(|amount| *amount == (None, None)) {
        Class::BestEffort
    } else if amounts
        .iter()
        .all(|(limit, request)| limit.is_some() && limit == request)
    {
        Class::Guaranteed
    } else {
        Class::Burstable
    }
}

/// The `oom_score_adj` of a container: less for those that asked for more of
/// the host's memory.
pub(super) fn oom_score_adj(pod: &Pod, container: &Container, host_memory: u64) -> i64 {
    match class(pod) {
        Class::Guaranteed => -997,
        Class::BestEffort => 1000,
        Class::Burstable => {
            let request = requests(&container.resources).get("memory").copied();
            let request = i128::from(request.unwrap_or_default().value());
            let share = 1000 * request / i128::from(host_memory.max(1));
            // Between those of the other classes, both excluded.
            i64::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    fn adj(resources: &str) -> i64 {
        let pod = pod(&format!(
            "containers:\n- {{name: c, image: i, resources: {{{resources}}}}}"
        ));
        oom_score_adj(&pod, &pod.spec.containers[0], 4 << 30)
    }

    #[test]
    fn the_score_follows_the_class_of_the_pod() {
        for (resources, score) in [
            ("", 1000),
            ("limits: {cpu: 1, memory: 1Gi}", -997),
            (
                "limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}",
                -997,
            ),
            (
                "limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 512Mi}",
                875,
            ),
            ("requests: {memory: 1Gi}", 750),
            ("requests: {memory: 64Gi}", 3),
            ("requests: {cpu: 1}", 999),
            ("limits: {memory: 0}", 1000),
        ] {
            assert_eq!(adj(resources), score, "{resources}");
        }
    }
}
