//! Labels and annotations by which kubelet, and tools that look at its pods,
//! know what belongs to what.

use std::collections::{BTreeMap, HashMap};

use crate::manifest::Pod;

/// Label: name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: uid of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation of a container: how often it was restarted.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation of a container: seconds from the stop signal to SIGKILL.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

pub(super) fn of_sandbox(pod: &Pod) -> HashMap<String, String> {
    let mut labels = hash(&pod.metadata.labels);
    labels.extend(identity(pod));
    labels
}

pub(super) fn of_container(pod: &Pod, container: &str) -> HashMap<String, String> {
    let mut labels = HashMap::from(identity(pod));
    labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
    labels
}

pub(super) fn hash(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.clone().into_iter().collect()
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    let metadata = &pod.metadata;
    [
        (POD_NAME.to_owned(), metadata.name.clone()),
        (POD_NAMESPACE.to_owned(), metadata.namespace.clone()),
        (POD_UID.to_owned(), metadata.uid.clone()),
    ]
}
