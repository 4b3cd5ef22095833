//! `ContainerConfig` of a container.

use crate::cri::v1::{ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig};
use crate::manifest::{Container, Pod, Refusal};

use super::env::{Sources, lookup};
use super::expand::expand;
use super::labels::{GRACE_PERIOD, RESTART_COUNT};
use super::{Node, VolumePaths, labels, mounts, qos, resources, security};

/// An image that is present.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The runtime's id of it.
    pub id: String,
    /// The user id that it names.
    pub uid: Option<i64>,
    /// The user that it names, where not by id.
    pub username: String,
}

/// What has to be known to create a container.
#[derive(Debug, Clone, Copy)]
pub struct ContainerFacts<'a> {
    /// The host.
    pub node: &'a Node,
    /// The container's image.
    pub image: &'a Image,
    /// Addresses of the pod.
    pub pod_ips: &'a [String],
    /// Where the volumes are.
    pub volumes: &'a VolumePaths,
    /// Path of the pod's `/etc/hosts` on the host.
    pub hosts_file: &'a str,
    /// How often the container was created before.
    pub attempt: u32,
}

/// A container of a checked pod.
///
/// # Errors
/// A security setting that the image does not fulfil.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    facts: ContainerFacts<'_>,
) -> Result<ContainerConfig, Refusal> {
    let ContainerFacts {
        node,
        image,
        pod_ips,
        attempt,
        ..
    } = facts;
    let envs = Sources {
        pod,
        container,
        node,
        pod_ips,
    }
    .variables();
    let expanded = |words: &[String]| {
        let expand = |word: &String| expand(word, |name| lookup(&envs, name));
        words.iter().map(expand).collect()
    };
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: container.name.clone(),
            attempt,
        }),
        image: Some(ImageSpec {
            image: image.id.clone(),
            user_specified_image: container.image.clone(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone(),
        mounts: mounts::of_container(container, facts.volumes, facts.hosts_file),
        labels: labels::of_container(pod, &container.name),
        annotations: annotations(pod, attempt).into(),
        log_path: log_path(&container.name, attempt),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(LinuxContainerConfig {
            resources: Some(linux_resources(pod, container, node)),
            security_context: Some(security::of_container(pod, container, image)?),
        }),
        envs,
        ..Default::default()
    })
}

fn linux_resources(
    pod: &Pod,
    container: &Container,
    node: &Node,
) -> crate::cri::v1::LinuxContainerResources {
    let mut linux = resources::of_container(container);
    linux.oom_score_adj = qos::oom_score_adj(pod, container, node.memory);
    if node.cgroup_v2 {
        // A container dies as a whole, rather than one of its processes.
        linux
            .unified
            .insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    linux
}

fn annotations(pod: &Pod, attempt: u32) -> [(String, String); 2] {
    let grace = pod.spec.termination_grace_period_seconds;
    [
        (RESTART_COUNT.to_owned(), attempt.to_string()),
        (GRACE_PERIOD.to_owned(), grace.to_string()),
    ]
}

/// Below the pod's log directory.
fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::{pod, sandbox_config};

    const POD: &str = "runtimeClassName: kata-mshv-vm-isolation
terminationGracePeriodSeconds: 5
securityContext: {sysctls: [{name: net.core.somaxconn, value: '1024'}]}
volumes: [{name: data, emptyDir: {}}]
containers:
- name: main
  image: registry.example/app:1
  command: [/bin/sh, -c]
  args: ['echo $(GREETING) $$(HOME) $(POD)']
  workingDir: /srv
  env: [{name: GREETING, value: hello}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
  resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 100m}}
  securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false}
  volumeMounts: [{name: data, mountPath: /data}]
  stdin: true
  tty: true";

    fn node() -> Node {
        Node {
            name: "n1".into(),
            cpus: 4,
            memory: 8 << 30,
            cgroup_v2: true,
            resolv_conf: "nameserver 10.0.0.1\n".into(),
        }
    }

    fn config() -> ContainerConfig {
        let pod = pod(POD);
        let image = Image {
            id: "sha256:1".into(),
            uid: Some(0),
            username: String::new(),
        };
        let volumes = VolumePaths::from([("data".into(), "/pods/u-1/data".into())]);
        let facts = ContainerFacts {
            node: &node(),
            image: &image,
            pod_ips: &["10.1.0.2".into()],
            volumes: &volumes,
            hosts_file: "/pods/u-1/hosts",
            attempt: 2,
        };
        container_config(&pod, &pod.spec.containers[0], facts).unwrap()
    }

    /// The whole messages, so that a change in any field is seen.
    #[test]
    fn messages_are_as_recorded() {
        let messages = serde_json::json!({
            "sandbox": sandbox_config(&pod(POD), &node(), "/pods/u-1/logs"),
            "container": config(),
        });
        let recorded: serde_json::Value =
            serde_json::from_str(include_str!("golden.json")).unwrap();
        assert_eq!(messages, recorded, "{messages:#}");
    }

    #[test]
    fn variables_are_put_into_commands() {
        assert_eq!(config().args, ["echo hello $(HOME) web"]);
    }

    #[test]
    fn each_attempt_has_a_log_of_its_own() {
        let config = config();
        assert_eq!(config.log_path, "main/2.log");
        assert_eq!(config.annotations[RESTART_COUNT], "2");
        assert_eq!(config.annotations[GRACE_PERIOD], "5");
    }
}
