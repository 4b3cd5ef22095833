//! Resolver settings of a pod.

use crate::cri::v1::DnsConfig as CriDns;
use crate::manifest::{DnsConfig, DnsOption, DnsPolicy, Pod};

/// What resolvers take; kubelet cuts off the rest too.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// The pod's settings, given the host's resolv.conf.
pub(super) fn config(pod: &Pod, resolv_conf: &str) -> CriDns {
    let mut config = match pod.spec.dns_policy {
        DnsPolicy::None => CriDns::default(),
        // There is no cluster, so its policy is the one kubelet falls back to
        // when it knows no cluster DNS.
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet | DnsPolicy::Default => {
            parse(resolv_conf)
        }
    };
    merge(&mut config, &pod.spec.dns_config);
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    config
}

/// Reads resolv.conf(5): of `search` and `options` the last line counts.
fn parse(text: &str) -> CriDns {
    let mut config = CriDns::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().map(ToOwned::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => config.servers.extend(words.next()),
            Some("search") => config.searches = words.collect(),
            Some("options") => config.options = words.collect(),
            _ => {}
        }
    }
    config
}

fn merge(config: &mut CriDns, more: &DnsConfig) {
    append_new(&mut config.servers, &more.nameservers);
    append_new(&mut config.searches, &more.searches);
    for option in &more.options {
        config
            .options
            .retain(|known| option_name(known) != option.name);
        config.options.push(option_text(option));
    }
}

fn append_new(known: &mut Vec<String>, more: &[String]) {
    for text in more {
        if !known.contains(text) {
            known.push(text.clone());
        }
    }
}

fn option_name(text: &str) -> &str {
    text.split_once(':').map_or(text, |(name, _)| name)
}

fn option_text(option: &DnsOption) -> String {
    match &option.value {
        Some(value) if !value.is_empty() => format!("{}:{value}", option.name),
        _ => option.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::to_cri::pod;

    const HOST: &str = "# made by hand
search old.example
nameserver 10.0.0.1
nameserver 10.0.0.2 trailing
search a.example  b.example
options ndots:2 rotate
";

    fn dns(spec: &str) -> CriDns {
        config(
            &pod(&format!("{spec}\ncontainers: [{{name: c, image: i}}]")),
            HOST,
        )
    }

    #[test]
    fn without_a_cluster_every_policy_but_none_is_the_hosts() {
        for policy in ["ClusterFirst", "ClusterFirstWithHostNet", "Default"] {
            let config = dns(&format!("dnsPolicy: {policy}"));
            assert_eq!(config.servers, ["10.0.0.1", "10.0.0.2"]);
            assert_eq!(config.searches, ["a.example", "b.example"]);
            assert_eq!(config.options, ["ndots:2", "rotate"]);
        }
        assert_eq!(dns("dnsPolicy: None"), CriDns::default());
    }

    #[test]
    fn settings_of_the_pod_are_added_and_options_replaced() {
        let config = dns(
            "dnsConfig: {nameservers: [10.0.0.2, 1.1.1.1, 9.9.9.9], searches: [b.example, c], \
            options: [{name: ndots, value: '5'}, {name: edns0}]}",
        );
        assert_eq!(config.servers, ["10.0.0.1", "10.0.0.2", "1.1.1.1"]);
        assert_eq!(config.searches, ["a.example", "b.example", "c"]);
        assert_eq!(config.options, ["rotate", "ndots:5", "edns0"]);
    }
}
