//! Environment variables, and the fields that they can refer to.

use crate::cri::v1::KeyValue;
use crate::manifest::{Container, EnvSource, Pod, Quantity, ResourceFieldRef, Resources};

use super::Node;
use super::expand::expand;

/// Where values come from.
pub(super) struct Sources<'a> {
    pub(super) pod: &'a Pod,
    pub(super) container: &'a Container,
    pub(super) node: &'a Node,
    /// Addresses of the pod, the first one the primary.
    pub(super) pod_ips: &'a [String],
}

/// A field of the pod that a variable can hold.
enum Field<'a> {
    Name,
    Namespace,
    Uid,
    Label(&'a str),
    Annotation(&'a str),
    NodeName,
    ServiceAccount,
    PodIp,
    PodIps,
}

fn field(path: &str) -> Option<Field<'_>> {
    Some(match path {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        "metadata.uid" => Field::Uid,
        "spec.nodeName" => Field::NodeName,
        "spec.serviceAccountName" => Field::ServiceAccount,
        "status.podIP" => Field::PodIp,
        "status.podIPs" => Field::PodIps,
        _ => match subscript(path)? {
            ("metadata.labels", key) => Field::Label(key),
            ("metadata.annotations", key) => Field::Annotation(key),
            _ => return None,
        },
    })
}

/// `a.b['key']` as `a.b` and `key`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A resource of a container that a variable can hold.
struct Resource<'a> {
    limits: bool,
    name: &'static str,
    of: &'a Resources,
}

fn resource<'a>(
    pod: &'a Pod,
    container: &'a Container,
    reference: &ResourceFieldRef,
) -> Option<Resource<'a>> {
    let of = match &reference.container_name {
        Some(name) => pod.all_containers().find(|other| other.name == *name)?,
        None => container,
    };
    let (limits, name) = match reference.resource.as_str() {
        "limits.cpu" => (true, "cpu"),
        "limits.memory" => (true, "memory"),
        "requests.cpu" => (false, "cpu"),
        "requests.memory" => (false, "memory"),
        _ => return None,
    };
    let of = &of.resources;
    Some(Resource { limits, name, of })
}

/// Says why a variable's source cannot be had.
pub(crate) fn check_source(
    pod: &Pod,
    container: &Container,
    source: &EnvSource,
) -> Result<(), &'static str> {
    match (&source.field_ref, &source.resource_field_ref) {
        (Some(reference), None) => match field(&reference.field_path) {
            Some(_) => Ok(()),
            None => Err("this field is not known without Kubernetes"),
        },
        (None, Some(reference)) => {
            resource(pod, container, reference)
                .ok_or("names no such container, or another resource than cpu and memory")?;
            match reference.divisor {
                Some(divisor) if divisor == Quantity::default() => Err("divides by zero"),
                _ => Ok(()),
            }
        }
        _ => Err("needs exactly one of fieldRef and resourceFieldRef"),
    }
}

impl Sources<'_> {
    /// All variables of the container, in their order; each value can refer to
    /// earlier ones.
    pub(super) fn variables(&self) -> Vec<KeyValue> {
        let mut known: Vec<KeyValue> = Vec::new();
        for variable in &self.container.env {
            let value = match &variable.value_from {
                Some(source) => self.source_value(source),
                None => expand(&variable.value, |name| lookup(&known, name)),
            };
            let key = variable.name.clone();
            known.push(KeyValue { key, value });
        }
        known
    }

    fn source_value(&self, source: &EnvSource) -> String {
        let by_field = source.field_ref.as_ref().and_then(|r| field(&r.field_path));
        if let Some(field) = by_field {
            return self.field_value(&field);
        }
        let by_resource = source.resource_field_ref.as_ref();
        // Sources were checked before anything was started.
        by_resource
            .and_then(|r| self.resource_value(r))
            .unwrap_or_default()
    }

    fn field_value(&self, field: &Field<'_>) -> String {
        let (metadata, spec) = (&self.pod.metadata, &self.pod.spec);
        match field {
            Field::Name => metadata.name.clone(),
            Field::Namespace => metadata.namespace.clone(),
            Field::Uid => metadata.uid.clone(),
            Field::Label(key) => metadata.labels.get(*key).cloned().unwrap_or_default(),
            Field::Annotation(key) => metadata.annotations.get(*key).cloned().unwrap_or_default(),
            Field::NodeName => spec
                .node_name
                .clone()
                .unwrap_or_else(|| self.node.name.clone()),
            Field::ServiceAccount => spec.service_account_name.clone(),
            Field::PodIp => self.pod_ips.first().cloned().unwrap_or_default(),
            Field::PodIps => self.pod_ips.join(","),
        }
    }

    fn resource_value(&self, reference: &ResourceFieldRef) -> Option<String> {
        let resource = resource(self.pod, self.container, reference)?;
        let divisor = reference.divisor.unwrap_or(Quantity::whole(1));
        let amount = self.amount(&resource);
        amount.divided_by(divisor).map(|times| times.to_string())
    }

    /// A limit that is not there is the whole host; a request that is not
    /// there is the limit, or nothing.
    fn amount(&self, resource: &Resource<'_>) -> Quantity {
        let limit = resource.of.limits.get(resource.name).copied();
        if resource.limits {
            let capacity = match resource.name {
                "cpu" => u64::from(self.node.cpus),
                _ => self.node.memory,
            };
            return limit.unwrap_or(Quantity::whole(capacity));
        }
        let request = resource.of.requests.get(resource.name).copied();
        request.or(limit).unwrap_or_default()
    }
}

/// The last value of a variable.
pub(super) fn lookup<'a>(known: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = known.iter().rev().find(|variable| variable.key == name);
    found.map(|variable| variable.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    fn variables(container: &str) -> Vec<(String, String)> {
        let pod = pod(&format!(
            "serviceAccountName: sa\ncontainers:\n- {{name: c, image: i, {container}}}"
        ));
        let node = Node {
            name: "n1".into(),
            cpus: 8,
            memory: 1 << 30,
            ..Node::default()
        };
        let pod_ips = ["10.0.0.2".to_owned(), "fd00::2".to_owned()];
        let container = &pod.spec.containers[0];
        let sources = Sources {
            pod: &pod,
            container,
            node: &node,
            pod_ips: &pod_ips,
        };
        let all = sources.variables().into_iter();
        all.map(|variable| (variable.key, variable.value)).collect()
    }

    fn value_from(source: &str) -> String {
        let env = format!(
            "env: [{{name: V, valueFrom: {{{source}}}}}], \
            resources: {{limits: {{cpu: 1500m, memory: 64Mi}}, requests: {{memory: 32Mi}}}}"
        );
        variables(&env).remove(0).1
    }

    #[test]
    fn a_value_sees_the_variables_before_it() {
        let all = variables(
            "env: [{name: A, value: '$(B)'}, {name: B, value: b}, {name: C, value: '$(B)$(A)'}]",
        );
        let values: Vec<_> = all.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["$(B)", "b", "b$(B)"]);
    }

    #[test]
    fn fields_of_the_pod_are_filled_in() {
        for (path, value) in [
            ("metadata.name", "web"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u-1"),
            ("metadata.labels['app']", "a"),
            ("metadata.annotations['none']", ""),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "sa"),
            ("status.podIP", "10.0.0.2"),
            ("status.podIPs", "10.0.0.2,fd00::2"),
        ] {
            assert_eq!(
                value_from(&format!("fieldRef: {{fieldPath: \"{path}\"}}")),
                value,
                "{path}"
            );
        }
    }

    #[test]
    fn resources_are_filled_in_and_divided() {
        for (reference, value) in [
            ("resource: limits.cpu", "2"),
            ("resource: limits.cpu, divisor: 1m", "1500"),
            ("resource: limits.memory, divisor: 1Mi", "64"),
            ("resource: requests.memory, divisor: 1Mi", "32"),
            ("resource: requests.cpu, divisor: 1m", "1500"),
            ("resource: limits.memory, containerName: c", "67108864"),
        ] {
            assert_eq!(
                value_from(&format!("resourceFieldRef: {{{reference}}}")),
                value,
                "{reference}"
            );
        }
    }

    #[test]
    fn a_limit_that_is_not_there_is_the_whole_host() {
        let env = "env: [{name: V, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]";
        assert_eq!(variables(env)[0].1, "8");
    }
}
