//! What a task is in its pod, read from the annotations that containerd's CRI
//! plugin puts on its OCI spec.

use std::collections::HashMap;

use oci_spec::runtime::Spec;

const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";

/// What a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The pod itself: its task is the VM.
    Sandbox,
    /// A container of the pod whose sandbox has this id.
    Member {
        /// containerd's id of the sandbox.
        sandbox_id: String,
    },
    /// A container without a pod (`ctr run`): a VM of its own.
    Lone,
}

impl Role {
    /// The role that the spec's annotations say.
    pub(crate) fn of(spec: &Spec) -> Self {
        spec.annotations()
            .as_ref()
            .map_or(Self::Lone, Self::of_annotations)
    }

    fn of_annotations(annotations: &HashMap<String, String>) -> Self {
        let sandbox_id = annotations.get(SANDBOX_ID);
        match (
            annotations.get(CONTAINER_TYPE).map(String::as_str),
            sandbox_id,
        ) {
            (Some("sandbox"), _) => Self::Sandbox,
            (Some("container"), Some(id)) => Self::Member {
                sandbox_id: id.clone(),
            },
            _ => Self::Lone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(annotations: &[(&str, &str)]) -> Role {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Role::of_annotations(&annotations.iter().map(owned).collect())
    }

    #[test]
    fn roles() {
        assert_eq!(role(&[]), Role::Lone);
        assert_eq!(
            role(&[(CONTAINER_TYPE, "sandbox"), (SANDBOX_ID, "s")]),
            Role::Sandbox
        );
        assert_eq!(
            role(&[(CONTAINER_TYPE, "container"), (SANDBOX_ID, "s")]),
            Role::Member {
                sandbox_id: "s".into()
            }
        );
        assert_eq!(role(&[(CONTAINER_TYPE, "container")]), Role::Lone);
    }
}
