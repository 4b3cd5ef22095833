//! What CNI's plugin `tuning` changes of an interface, and settings of the network
//! (sysctl(8)) that it or another makes in the pod's namespace.

use anyhow::{Result, ensure};
use serde_json::json;

use super::plugins::{bridge_and, expect, on_bridge, serving};
use crate::bed::{Bed, Network};
use crate::harness::cases;
use crate::network_view::compare;
use crate::pod::{Container, ContainerSpec, pod};

cases![any: of_the_interface, settings_of_a_plugin, the_pods_own_settings_win];

/// The bed's bridge, and then `tuning` with `more`.
fn tuned(name: &'static str, mut more: serde_json::Value) -> Network {
    more["type"] = json!("tuning");
    on_bridge(name).then(more)
}

async fn has(container: &Container, settings: &[(&str, &str)]) -> Result<()> {
    for (name, value) in settings {
        let file = format!("/proc/sys/net/{name}");
        let found = container.ask(&["cat", &file]).await?;
        let found = found.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(found == *value, "{name} is {found:?} and not {value:?}");
    }
    Ok(())
}

async fn of_the_interface(bed: &Bed) -> Result<()> {
    let more = json!({"mac": "02:00:00:00:77:07", "mtu": 1300, "promisc": true});
    let networks = bed.networks(vec![tuned("tuned", more)]).await?;
    let (pod, container) = serving(bed, "tuned").await?;
    let view = compare(&container).await?;
    let interface = ["interface", "eth0", "02:00:00:00:77:07", "mtu 1300 PROMISC"];
    expect(&view, &[&interface])?;
    container
        .ask(&["ping", "-c", "1", "-w", "10", "10.88.0.1"])
        .await?;
    pod.remove().await?;
    networks.restore().await
}

/// Of the namespace, of all interfaces and then another of one, of IPv6.
async fn settings_of_a_plugin(bed: &Bed) -> Result<()> {
    let more = json!({"sysctl": {
        "net.core.somaxconn": "777",
        "net.ipv4.tcp_rmem": "4096 65536 1048576",
        "net.ipv4.conf.eth0.arp_filter": "1",
        "net.ipv6.conf.eth0.hop_limit": "33",
    }});
    let networks = bed.networks(vec![tuned("tuned", more)]).await?;
    let (pod, container) = serving(bed, "tuned").await?;
    let settings = [
        ("core/somaxconn", "777"),
        ("ipv4/tcp_rmem", "4096 65536 1048576"),
        ("ipv4/conf/eth0/arp_filter", "1"),
        ("ipv4/conf/all/arp_filter", "0"),
        ("ipv6/conf/eth0/hop_limit", "33"),
        // As in any new namespace.
        ("ipv4/ip_forward", "0"),
    ];
    has(&container, &settings).await?;
    pod.remove().await?;
    networks.restore().await
}

/// Forwarding for all interfaces but one, and no IPv6 for another.
const COMMANDS: &str = "
ip link add dark0 type veth peer name dark1
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.ipv4.conf.eth0.forwarding=0
sysctl -qw net.ipv4.ip_local_port_range=\"20000 30000\"
sysctl -qw net.ipv6.conf.dark0.disable_ipv6=1
ip address add 10.73.0.1/24 dev dark0
ip link set dark0 up
";

async fn the_pods_own_settings_win(bed: &Bed) -> Result<()> {
    let networks = bed
        .networks(vec![bridge_and(bed, "own", COMMANDS)?])
        .await?;
    let spec = pod("own")
        .sysctl("net.ipv4.ip_local_port_range", "40000 50000")
        .sysctl("net.ipv4.tcp_syncookies", "2");
    let pod = spec.run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let settings = [
        ("ipv4/ip_local_port_range", "40000 50000"),
        ("ipv4/tcp_syncookies", "2"),
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/lo/forwarding", "1"),
        ("ipv4/conf/eth0/forwarding", "0"),
        ("ipv6/conf/eth0/disable_ipv6", "0"),
        ("ipv6/conf/dark0/disable_ipv6", "1"),
    ];
    has(&container, &settings).await?;
    pod.remove().await?;
    networks.restore().await
}
