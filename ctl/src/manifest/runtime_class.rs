//! `node.k8s.io/v1 RuntimeClass`: a manifest may bring the class along that its
//! pods name.

use serde::Deserialize;

use super::container::ResourceList;

/// A RuntimeClass.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeClass {
    /// Always `node.k8s.io/v1`.
    pub api_version: String,
    /// Always `RuntimeClass`.
    pub kind: String,
    /// Its name.
    pub metadata: ClassMeta,
    /// The handler that the runtime's configuration has.
    pub handler: String,
    /// What each pod of the class costs beside its containers.
    #[serde(default)]
    pub overhead: Overhead,
}

/// Name of a class.
#[derive(Debug, Clone, Deserialize)]
pub struct ClassMeta {
    /// The name that pods use.
    pub name: String,
}

/// What each pod costs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overhead {
    /// The amounts.
    #[serde(default)]
    pub pod_fixed: ResourceList,
}
