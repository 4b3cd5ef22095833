//! The few pod annotations that may change a value.

use toml::Value;

use crate::{Error, Loaded, Origin, schema, value};

/// An annotation that a pod may carry.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Last part of its name, as `annotations` in the configuration lists it.
    pub name: &'static str,
    /// Name as a pod writes it: the ones that users of Kata Containers know.
    pub full_name: &'static str,
    /// The key whose value it replaces.
    pub key: &'static str,
}

/// All annotations there are. Their values are decimal numbers.
pub const ANNOTATIONS: &[Annotation] = &[
    Annotation {
        name: "default_vcpus",
        full_name: "io.katacontainers.config.hypervisor.default_vcpus",
        key: "guest.default_vcpus",
    },
    Annotation {
        name: "default_memory",
        full_name: "io.katacontainers.config.hypervisor.default_memory",
        key: "guest.default_memory_mib",
    },
];

impl Loaded {
    /// Replaces what the pod's annotations may replace. `get` looks one up by
    /// its full name. Annotations that the configuration does not allow are
    /// ignored, as are unknown ones: a pod may carry anything.
    ///
    /// # Errors
    ///
    /// A value that is no number, or out of the key's range.
    pub fn apply_annotations<'a>(
        &mut self,
        get: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<(), Error> {
        let allowed = self.config().annotations;
        for annotation in ANNOTATIONS {
            if !allowed.iter().any(|name| name == annotation.name) {
                continue;
            }
            if let Some(text) = get(annotation.full_name) {
                self.apply_annotation(annotation, text)?;
            }
        }
        self.check_order()
    }

    fn apply_annotation(&mut self, annotation: &Annotation, text: &str) -> Result<(), Error> {
        let Some(key) = schema::find(annotation.key) else {
            return Ok(());
        };
        let value = match text.parse::<i64>() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::String(text.chars().take(64).collect()),
        };
        value::check(key.kind, &value).map_err(|misfit| Error::BadAnnotation {
            annotation: annotation.full_name.to_owned(),
            wanted: misfit.wanted,
            got: misfit.got,
        })?;
        self.set(
            key,
            value,
            Origin::Annotation(annotation.full_name.to_owned()),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VCPUS: &str = "io.katacontainers.config.hypervisor.default_vcpus";

    fn with(value: &'static str) -> Result<u32, String> {
        let mut loaded = Loaded::defaults();
        loaded
            .apply_annotations(|name| (name == VCPUS).then_some(value))
            .map_err(|e| e.to_string())?;
        Ok(loaded.config().guest.default_vcpus)
    }

    #[test]
    fn a_pod_may_ask_for_more_vcpus() {
        assert_eq!(with("4"), Ok(4));
    }

    #[test]
    fn out_of_range_and_nonsense_are_refused() {
        assert_eq!(
            with("65").unwrap_err(),
            format!("pod annotation {VCPUS}: must be a whole number from 1 to 64, not 65")
        );
        assert!(with("many").unwrap_err().ends_with("not \"many\""));
    }

    #[test]
    fn what_the_operator_did_not_allow_is_ignored() {
        let mut loaded = Loaded::defaults();
        loaded.set(
            schema::find("annotations").unwrap(),
            Value::Array(Vec::new()),
            Origin::Default,
        );
        loaded.apply_annotations(|_| Some("4")).unwrap();
        assert_eq!(loaded.config().guest.default_vcpus, 1);
    }
}
