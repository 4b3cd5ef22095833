//! What can be wrong with a manifest.

use std::fmt;

/// A manifest that cannot be read or carried out.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML.
    #[error("document {document} is not valid YAML")]
    Yaml {
        /// Counted from 1.
        document: usize,
        /// Line and column.
        #[source]
        source: serde_yaml::Error,
    },

    /// A document of a kind that cannot be run.
    #[error(
        "document {document} is `{kind}`; only v1 Pod, and node.k8s.io/v1 RuntimeClass beside it, can be run without Kubernetes"
    )]
    Kind {
        /// Counted from 1.
        document: usize,
        /// `apiVersion` and `kind`.
        kind: String,
    },

    /// A field of the wrong type, or a missing one.
    #[error("document {document}: {field}")]
    Field {
        /// Counted from 1.
        document: usize,
        /// Path of the field.
        field: String,
        /// What was expected.
        #[source]
        source: serde_yaml::Error,
    },

    /// A pod that is understood and cannot be run.
    #[error("pod {pod} cannot be run")]
    Refused {
        /// `namespace/name`.
        pod: String,
        /// Which field, and why.
        #[source]
        source: Refusal,
    },

    /// No pod in it.
    #[error("the manifest has no pod")]
    Empty,
}

/// A field that rules a pod out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Refusal {
    /// Path of the field.
    pub field: String,
    /// Why, and what to do.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) fn new(field: impl Into<String>, reason: &'static str) -> Self {
        let field = field.into();
        Self { field, reason }
    }
}

/// A field that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Counted from 1.
    pub document: usize,
    /// Path of the field.
    pub field: String,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            document,
            field,
            reason,
        } = self;
        write!(f, "document {document}: {field}: {reason}")
    }
}
