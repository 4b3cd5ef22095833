//! `PodSandboxConfig` of a pod.

use crate::cri::v1::{
    LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping,
    Protocol as CriProtocol,
};
use crate::manifest::{ContainerPort, Pod, Protocol};

use super::{Node, dns, labels, resources, security};

/// The longest host name that the kernel takes.
const MAX_HOSTNAME: usize = 63;

/// The sandbox of a pod whose containers log below `log_directory`.
#[must_use]
pub fn sandbox_config(pod: &Pod, node: &Node, log_directory: &str) -> PodSandboxConfig {
    let host_network = pod.spec.host_network;
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            namespace: pod.metadata.namespace.clone(),
            attempt: 0,
        }),
        // With the host's network the name is the host's too.
        hostname: if host_network {
            String::new()
        } else {
            hostname(pod)
        },
        log_directory: log_directory.to_owned(),
        dns_config: Some(dns::config(pod, &node.resolv_conf)),
        port_mappings: if host_network { Vec::new() } else { ports(pod) },
        labels: labels::of_sandbox(pod),
        annotations: labels::hash(&pod.metadata.annotations),
        linux: Some(linux(pod)),
        windows: None,
    }
}

fn linux(pod: &Pod) -> LinuxPodSandboxConfig {
    let sysctls = pod.spec.security_context.sysctls.iter();
    LinuxPodSandboxConfig {
        security_context: Some(security::of_sandbox(pod)),
        sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
        overhead: Some(resources::of_overhead(pod)),
        resources: Some(resources::of_pod(pod)),
        ..Default::default()
    }
}

/// The pod's host name: as given, else its own, cut to what the kernel takes.
#[must_use]
pub fn hostname(pod: &Pod) -> String {
    let name = pod.spec.hostname.as_ref().unwrap_or(&pod.metadata.name);
    let cut: String = name.chars().take(MAX_HOSTNAME).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn ports(pod: &Pod) -> Vec<PortMapping> {
    pod.long_running()
        .flat_map(|c| &c.ports)
        .map(port)
        .collect()
}

fn port(port: &ContainerPort) -> PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => CriProtocol::Tcp,
        Protocol::Udp => CriProtocol::Udp,
        Protocol::Sctp => CriProtocol::Sctp,
    };
    PortMapping {
        protocol: protocol.into(),
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: port.host_ip.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    #[test]
    fn ports_are_those_of_containers_that_stay() {
        let pod = pod("initContainers:
- {name: once, image: i, ports: [{containerPort: 1}]}
- {name: side, image: i, restartPolicy: Always, ports: [{containerPort: 2, protocol: UDP}]}
containers:
- {name: c, image: i, ports: [{containerPort: 3, hostPort: 30, hostIP: 127.0.0.1, name: http}]}");
        let ports = sandbox_config(&pod, &Node::default(), "/l").port_mappings;
        let numbers: Vec<_> = ports
            .iter()
            .map(|p| (p.container_port, p.host_port))
            .collect();
        assert_eq!(numbers, [(2, 0), (3, 30)]);
        assert_eq!(ports[0].protocol(), CriProtocol::Udp);
        assert_eq!(ports[1].host_ip, "127.0.0.1");
    }

    #[test]
    fn with_host_network_there_are_no_ports_and_no_name() {
        let pod = pod(
            "hostNetwork: true\ncontainers: [{name: c, image: i, ports: [{containerPort: 1}]}]",
        );
        let config = sandbox_config(&pod, &Node::default(), "/l");
        assert_eq!(
            (config.port_mappings.len(), config.hostname.as_str()),
            (0, "")
        );
    }

    #[test]
    fn a_host_name_is_cut_without_leaving_a_dash() {
        let long = format!("{}-tail", "a".repeat(62));
        let pod = pod(&format!(
            "hostname: {long}\ncontainers: [{{name: c, image: i}}]"
        ));
        assert_eq!(hostname(&pod), "a".repeat(62));
    }
}
