//! `/etc/hosts` of a pod.

use std::fmt::Write;

use crate::manifest::Pod;

use super::sandbox::hostname;

const LOCAL: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The text of the file: the host's own with host network, else the loopback
/// names and the pod's; then the pod's aliases.
#[must_use]
pub fn hosts_file(pod: &Pod, pod_ips: &[String], host_file: &str) -> String {
    let mut text = match pod.spec.host_network {
        true => host_file.to_owned(),
        false => LOCAL.to_owned(),
    };
    if !pod.spec.host_network {
        let hostname = hostname(pod);
        for ip in pod_ips {
            push(&mut text, ip, &hostname);
        }
    }
    for alias in &pod.spec.host_aliases {
        push(&mut text, &alias.ip, &alias.hostnames.join("\t"));
    }
    text
}

fn push(text: &mut String, ip: &str, names: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{ip}\t{names}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    const ALIASES: &str = "hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}]
containers: [{name: c, image: i}]";

    #[test]
    fn the_pod_finds_itself_and_its_aliases() {
        let text = hosts_file(
            &pod(ALIASES),
            &["10.0.0.2".into(), "fd00::2".into()],
            "host",
        );
        let own = "10.0.0.2\tweb\nfd00::2\tweb\n1.2.3.4\ta\tb\n";
        assert_eq!(text, format!("{LOCAL}{own}"));
    }

    #[test]
    fn with_host_network_the_file_is_the_hosts() {
        let text = hosts_file(
            &pod(&format!("hostNetwork: true\n{ALIASES}")),
            &[],
            "127.0.0.1 h\n",
        );
        assert_eq!(text, "127.0.0.1 h\n1.2.3.4\ta\tb\n");
    }
}
