//! From YAML text to checked pods.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_yaml::Value;

use super::error::{ManifestError, Warning};
use super::pod::Pod;
use super::runtime_class::RuntimeClass;
use super::validate;

/// The documents of a manifest.
#[derive(Debug, Default)]
pub struct Manifest {
    /// At least one.
    pub pods: Vec<Pod>,
    /// What has no effect.
    pub warnings: Vec<Warning>,
    classes: Vec<RuntimeClass>,
}

/// Reads the documents of a manifest and checks the pods.
///
/// # Errors
/// All of [`ManifestError`].
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let mut manifest = Manifest::default();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let number = index + 1;
        let value = Value::deserialize(document).map_err(|source| ManifestError::Yaml {
            document: number,
            source,
        })?;
        manifest.add(number, without_nulls(value))?;
    }
    if manifest.pods.is_empty() {
        return Err(ManifestError::Empty);
    }
    manifest.apply_classes();
    Ok(manifest)
}

impl Manifest {
    fn add(&mut self, document: usize, value: Value) -> Result<(), ManifestError> {
        let kind = format!(
            "{} {}",
            text_at(&value, "apiVersion"),
            text_at(&value, "kind")
        );
        match kind.as_str() {
            "v1 Pod" => {
                let pod = self.typed::<Pod>(document, value)?;
                self.check(document, &pod)?;
                self.pods.push(pod);
            }
            "node.k8s.io/v1 RuntimeClass" => {
                let class = self.typed(document, value)?;
                self.classes.push(class);
            }
            // What stands between two separators, or after the last.
            _ if value.is_null() => {}
            _ => return Err(ManifestError::Kind { document, kind }),
        }
        Ok(())
    }

    fn check(&mut self, document: usize, pod: &Pod) -> Result<(), ManifestError> {
        let notes = validate::check(pod).map_err(|source| ManifestError::Refused {
            pod: pod.full_name(),
            source,
        })?;
        self.warnings
            .extend(notes.into_iter().map(|(field, reason)| Warning {
                document,
                field,
                reason,
            }));
        Ok(())
    }

    /// Reads a document and notes the fields that nothing reads.
    fn typed<T: DeserializeOwned>(
        &mut self,
        document: usize,
        value: Value,
    ) -> Result<T, ManifestError> {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
        let read = serde_ignored::deserialize(tracked, |path| {
            self.warnings.push(Warning {
                document,
                field: field_path(&path),
                reason: "not known here, has no effect",
            });
        });
        read.map_err(|source| ManifestError::Field {
            document,
            field: track.path().to_string(),
            source,
        })
    }

    /// As the RuntimeClass admission does: a class of the manifest gives its
    /// pods the handler and, where they have none, the overhead.
    fn apply_classes(&mut self) {
        for pod in &mut self.pods {
            let named = pod.spec.runtime_class_name.as_deref();
            let class = self
                .classes
                .iter()
                .find(|c| Some(c.metadata.name.as_str()) == named);
            if let Some(class) = class {
                pod.spec.runtime_class_name = Some(class.handler.clone());
                if pod.spec.overhead.is_empty() {
                    pod.spec.overhead = class.overhead.pod_fixed.clone();
                }
            }
        }
    }
}

fn text_at<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The API server takes a field that is null as one that is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Mapping(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Mapping(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// `spec.containers[0].image`, as Kubernetes writes it.
fn field_path(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => match field_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers: [{name: c, image: i}]
";

    fn chain(error: &ManifestError) -> String {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    }

    #[test]
    fn several_documents_are_several_pods() {
        let text = format!(
            "---\n{POD}---\n# nothing\n---\n{}---\n",
            POD.replace("a}", "b}")
        );
        let manifest = parse(&text).unwrap();
        let names: Vec<_> = manifest.pods.iter().map(Pod::full_name).collect();
        assert_eq!(names, ["default/a", "default/b"]);
        assert_eq!(manifest.warnings, []);
    }

    #[test]
    fn each_pod_gets_a_uid_of_its_own() {
        let manifest = parse(&format!("{POD}---\n{POD}")).unwrap();
        assert_ne!(manifest.pods[0].metadata.uid, manifest.pods[1].metadata.uid);
        assert_eq!(manifest.pods[0].metadata.uid.len(), 36);
    }

    #[test]
    fn a_field_that_nothing_reads_is_reported_with_its_path() {
        let text = POD.replace(
            "image: i}",
            "image: i, livenessProbe: {httpGet: {port: 1}}, securityContext: {seLinuxOptions: {}}}",
        );
        let manifest = parse(&format!(
            "{text}  tolerations: [{{}}]\nstatus: {{phase: x}}\n"
        ))
        .unwrap();
        let fields: Vec<_> = manifest.warnings.iter().map(|w| w.field.as_str()).collect();
        let expected = [
            "spec.containers[0].livenessProbe",
            "spec.containers[0].securityContext.seLinuxOptions",
            "spec.tolerations",
            "status",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let text = POD.replace("image: i", "image: i, env: null, resources: ~, args: null");
        let manifest = parse(&text).unwrap();
        assert!(manifest.pods[0].spec.containers[0].env.is_empty());
        assert_eq!(manifest.warnings, []);
    }

    #[test]
    fn a_wrong_type_and_a_missing_field_name_the_field() {
        let wrong = parse(&POD.replace("image: i", "image: [i]")).unwrap_err();
        assert!(
            chain(&wrong).starts_with("document 1: spec.containers[0].image: "),
            "{}",
            chain(&wrong)
        );
        let missing = parse(&POD.replace(", image: i", "")).unwrap_err();
        assert!(
            chain(&missing).contains("missing field `image`"),
            "{}",
            chain(&missing)
        );
    }

    #[test]
    fn other_kinds_and_broken_yaml_are_refused() {
        let deployment = parse("apiVersion: apps/v1\nkind: Deployment\n").unwrap_err();
        assert!(deployment.to_string().contains("`apps/v1 Deployment`"));
        assert!(matches!(
            parse("a: [").unwrap_err(),
            ManifestError::Yaml { document: 1, .. }
        ));
        assert!(matches!(parse("---\n").unwrap_err(), ManifestError::Empty));
    }

    #[test]
    fn a_runtime_class_of_the_manifest_gives_handler_and_overhead() {
        let class = "apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: vm}
handler: kata-mshv-vm-isolation
overhead: {podFixed: {memory: 64Mi}}
---
";
        let pod = POD.replace("spec:", "spec:\n  runtimeClassName: vm");
        let manifest = parse(&format!("{class}{pod}")).unwrap();
        let spec = &manifest.pods[0].spec;
        assert_eq!(
            spec.runtime_class_name.as_deref(),
            Some("kata-mshv-vm-isolation")
        );
        assert_eq!(spec.overhead["memory"].value(), 64 << 20);
    }
}
