//! Networks by other CNI plugins than the bridge: what they made in the pod's
//! namespace is what its containers have, and packets go where they shall.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::errors::refused_pod;
use crate::bed::{BRIDGE, Bed, Network, addresses};
use crate::harness::{cases, patient};
use crate::network_view::{self, View, compare, with_node_programs};
use crate::pod::{Container, Pod, pod};
use crate::traffic::{self, PORT, PROGRAM};

cases![
    any: bridge,
    ptp,
    gateway_beyond_the_prefix,
    several_interfaces,
    routes_of_every_kind,
    bridge_in_the_namespace,
    what_comes_later,
    what_goes_later,
    filters_of_a_plugin_stay;
    vm: tunnel_is_refused
];

/// Bytes that go there and back where a few would do.
pub(super) const SOME: u64 = 1 << 20;

/// A pod that answers traffic, and can be asked what its network is.
pub(super) async fn serving(bed: &Bed, name: &str) -> Result<(Pod, Container)> {
    let pod = pod(name).run(bed).await?;
    let server = with_node_programs(traffic::server("main")?);
    let container = server.start(&pod).await?;
    Ok((pod, container))
}

/// The node reaches all addresses of the pod.
async fn reached_from_node(pod: &Pod) -> Result<()> {
    for address in pod.addresses().await? {
        let to: IpAddr = address.parse().context("a pod's address")?;
        spawn_blocking(move || {
            let to = (to, PORT).into();
            traffic::await_server(to)?;
            traffic::echo(to, SOME)
        })
        .await?
        .with_context(|| format!("from the node to {address}"))?;
    }
    Ok(())
}

/// `from` reaches all addresses of the pod.
pub(super) async fn reached_from(from: &Container, pod: &Pod) -> Result<()> {
    for address in pod.addresses().await? {
        let echo = [PROGRAM, "echo", &address, &SOME.to_string()];
        from.ask(&echo).await?;
    }
    Ok(())
}

/// A plugin that goes on where others ended, with commands in the pod's
/// namespace.
fn in_namespace(commands: &str) -> String {
    format!(
        r#"#!/bin/sh
set -e
conf=$(cat)
[ "$CNI_COMMAND" = ADD ] || exit 0
nsenter --net="$CNI_NETNS" sh -ec '{commands}' >&2
# What those before it said; keys are sorted.
echo "$conf" | sed 's/.*"prevResult":\(.*\),"type":.*/\1/'
"#
    )
}

/// The bed's bridge, and then `commands` in the pod's namespace.
pub(super) fn bridge_and(bed: &Bed, name: &'static str, commands: &str) -> Result<Network> {
    bed.plugin("commands", &in_namespace(commands))?;
    Ok(on_bridge(name).then(json!({"type": "commands"})))
}

/// The bed's bridge, for another plugin to go on.
pub(super) fn on_bridge(name: &'static str) -> Network {
    let bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": true,
        "ipam": addresses(&["10.88.0.0/16", "fd88::/64"]),
    });
    Network::new(name, bridge)
}

pub(super) fn expect(view: &View, lines: &[&[&str]]) -> Result<()> {
    for words in lines {
        ensure!(view.has(words), "no line has {words:?} in {view:#?}");
    }
    Ok(())
}

async fn bridge(bed: &Bed) -> Result<()> {
    let (pod, container) = serving(bed, "bridged").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["interface", "eth0", "mtu 1500"],
        &["address", "10.88.0.", "/16"],
        &["address", "fd88::", "/64"],
        &["address", "fe80::", "/64"],
        &["default", "10.88.0.1", "eth0"],
        &["default", "fd88::1", "eth0"],
    ];
    expect(&view, lines)?;
    pod.remove().await
}

async fn ptp(bed: &Bed) -> Result<()> {
    let plugin = json!({
        "type": "ptp",
        "mtu": 1400,
        "ipam": addresses(&["10.89.0.0/24", "fd89::/64"]),
    });
    let networks = bed.networks(vec![Network::new("ptp", plugin)]).await?;
    let (first, container) = serving(bed, "first").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["interface", "eth0", "mtu 1400"],
        &["\"dst\":\"10.89.0.0/24\"", "\"gateway\":\"10.89.0.1\""],
        &["\"dst\":\"10.89.0.1\"", "\"scope\":\"link\""],
    ];
    expect(&view, lines)?;
    let (second, _) = serving(bed, "second").await?;
    reached_from_node(&second).await?;
    reached_from(&container, &second).await?;
    first.remove().await?;
    second.remove().await?;
    networks.restore().await
}

/// As Calico does it: no prefix, a gateway that is nobody's address, and its
/// hardware address by hand.
const ROUTED: &str = r#"#!/bin/sh
set -e
cat >/dev/null
mac=ee:ee:ee:ee:ee:ee host=routed0
inside() { nsenter --net="$CNI_NETNS" ip "$@"; }
case "$CNI_COMMAND" in
ADD)
    ip link add $host address $mac type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS"
    ip address add 10.77.0.1/32 dev $host
    ip address add fd77::1/128 dev $host nodad
    ip address add fe80::ecee:eeff:feee:eeee/64 dev $host nodad
    ip link set $host up
    inside address add 10.77.0.5/32 dev "$CNI_IFNAME"
    inside address add fd77::5/128 dev "$CNI_IFNAME" nodad
    inside link set "$CNI_IFNAME" up
    inside route add 169.254.1.1 dev "$CNI_IFNAME" scope link
    inside route add default via 169.254.1.1 dev "$CNI_IFNAME"
    inside neighbour add 169.254.1.1 dev "$CNI_IFNAME" lladdr $mac nud permanent
    inside route add default via fe80::ecee:eeff:feee:eeee dev "$CNI_IFNAME"
    ip route add 10.77.0.5 dev $host
    ip route add fd77::5 dev $host
    echo '{"cniVersion": "0.4.0", "interfaces": [{"name": "'"$CNI_IFNAME"'", "sandbox": "'"$CNI_NETNS"'"}],
        "ips": [{"version": "4", "interface": 0, "address": "10.77.0.5/32"},
                {"version": "6", "interface": 0, "address": "fd77::5/128"}]}'
    ;;
DEL) ip link delete $host 2>/dev/null || true ;;
esac
"#;

async fn gateway_beyond_the_prefix(bed: &Bed) -> Result<()> {
    bed.plugin("routed", ROUTED)?;
    let network = Network::new("routed", json!({"type": "routed"}));
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "routed").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["address", "\"10.77.0.5\"/32"],
        &["default", "169.254.1.1"],
        &["default", "fe80::ecee:eeff:feee:eeee"],
        &["169.254.1.1", "lladdr", "ee:ee:ee:ee:ee:ee"],
    ];
    expect(&view, lines)?;
    reached_from_node(&pod).await?;
    pod.remove().await?;
    networks.restore().await
}

/// Two networks, the second with large packets, no default route, and a table of
/// its own for what comes from its address.
async fn several_interfaces(bed: &Bed) -> Result<()> {
    let plugin = |bridge: &str, mtu: u32, ipam: Value| json!({"type": "bridge", "bridge": bridge, "mtu": mtu, "isGateway": true, "ipam": ipam});
    let mut second = addresses(&["10.92.0.0/24"]);
    second["routes"] = json!([]);
    let networks = vec![
        Network::new(
            "first",
            plugin("first0", 1500, addresses(&["10.91.0.0/24"])),
        ),
        Network::new("second", plugin("second0", 9000, second)).then(json!({"type": "sbr"})),
    ];
    let networks = bed.networks(networks).await?;
    let (pod, container) = serving(bed, "several").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["interface", "eth0", "mtu 1500"],
        &["interface", "eth1", "mtu 9000"],
        &["address", "10.92.0.", "of \"eth1\""],
        &["default", "10.91.0.1", "eth0"],
        &["default", "10.92.0.1", "eth1", "\"table\":\"100\""],
        &["\"src\":\"10.92.0.", "\"table\":\"100\""],
    ];
    expect(&view, lines)?;
    reached_from_node(&pod).await?;
    let big = ["ping", "-c", "1", "-w", "10", "-s", "8900", "10.92.0.1"];
    container.ask(&big).await?;
    pod.remove().await?;
    networks.restore().await
}

const ROUTES: &str = "
ip route add blackhole 10.9.0.0/16
ip route add unreachable 10.10.0.0/16 metric 5
ip route add prohibit fd09::/64
ip route add throw 10.11.0.0/16 table 1000
ip route add 10.12.0.0/16 via 10.88.0.1 mtu 1300
ip route add 10.13.0.0/16 via 10.200.0.1 dev eth0 onlink
ip route add 10.14.0.0/16 nexthop via 10.88.0.1 weight 2 nexthop via 10.88.9.9
ip route add fd14::/64 nexthop via fd88::1 nexthop via fd88::99
ip route add 10.15.0.0/16 dev eth0
ip route append 10.15.0.0/16 via 10.88.0.1
ip route add default via 10.88.0.1 table 1000
ip rule add from 10.88.0.0/16 fwmark 0x10/0xf0 table 1000 priority 77
ip -6 rule add to fd09::/64 oif eth0 table 1000
ip neighbour add 10.88.9.9 dev eth0 lladdr 02:00:00:00:09:09 nud permanent
ip neighbour add fd88::99 dev eth0 lladdr 02:00:00:00:09:0a nud permanent
ip address add 10.88.200.200/32 dev eth0
ip address add 10.66.0.1/32 dev lo
ip link set eth0 addrgenmode none
ip -6 address flush dev eth0 scope link
ip address add fe80::88/64 dev eth0 nodad
";

async fn routes_of_every_kind(bed: &Bed) -> Result<()> {
    let network = bridge_and(bed, "routes", ROUTES)?;
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "routes").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["10.9.0.0/16", "blackhole"],
        &["10.14.0.0/16", "nexthops", "\"weight\":2"],
        &["\"fwmark\":\"0x10\"", "1000"],
        &["address", "10.66.0.1", "of \"lo\""],
        &["address", "fe80::88"],
    ];
    expect(&view, lines)?;
    reached_from_node(&pod).await?;
    pod.remove().await?;
    networks.restore().await
}

/// The pod's interface became a port of a bridge beside it.
const BRIDGED: &str = "
address=$(ip -o -4 address show dev eth0 | awk \"{print \\$4}\")
ip address flush dev eth0
ip -6 route flush dev eth0
ip link add br0 type bridge
ip link set eth0 master br0
ip link set br0 up
ip address add $address dev br0
ip route add default via 10.88.0.1
";

async fn bridge_in_the_namespace(bed: &Bed) -> Result<()> {
    let network = bridge_and(bed, "inner", BRIDGED)?;
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "inner").await?;
    let view = compare(&container).await?;
    expect(&view, &[&["address", "10.88.0.", "of \"br0\""]])?;
    // containerd was told of the addresses that are no more: IPv4 is first.
    let addresses = pod.addresses().await?;
    let to: IpAddr = addresses[0].parse().context("a pod's address")?;
    spawn_blocking(move || traffic::await_server((to, PORT).into())).await??;
    let echo = [PROGRAM, "datagrams", &addresses[0], "1000"];
    container.ask(&echo).await?;
    pod.remove().await?;
    networks.restore().await
}

/// A plugin's own filter on what comes in: what is for port 81 goes to an interface
/// that is down.
const FILTERED: &str = "
ip link add sink0 type ifb
tc qdisc add dev eth0 clsact
tc filter add dev eth0 ingress priority 10 protocol ip u32 match ip dport 81 0xffff action mirred egress redirect dev sink0
";

async fn filters_of_a_plugin_stay(bed: &Bed) -> Result<()> {
    let network = bridge_and(bed, "filtered", FILTERED)?;
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "filtered").await?;
    reached_from_node(&pod).await?;
    let address = pod.addresses().await?.swap_remove(0);
    let serve = "httpd -h / -p 81 && httpd -h / -p 82";
    container.ask(&["sh", "-c", serve]).await?;
    let (open, shut) = spawn_blocking(move || {
        let dial = |port| traffic::is_open(&address, port);
        anyhow::Ok((dial(82)?, dial(81)?))
    })
    .await??;
    ensure!(open, "a port that is not filtered is shut");
    ensure!(!shut, "the plugin's filter does nothing");
    pod.remove().await?;
    networks.restore().await
}

async fn tunnel_is_refused(bed: &Bed) -> Result<()> {
    let tunnel = "
        ip tuntap add mode tun name tun7
        ip link set tun7 up
        ip address add 10.67.0.1/24 dev tun7";
    let network = bridge_and(bed, "tunnel", tunnel)?;
    let networks = bed.networks(vec![network]).await?;
    refused_pod(bed, "tunnel", pod("tunnel"), &["tun7", "tun", "CNI plugin"]).await?;
    networks.restore().await
}

/// Has `commands` done in the namespace of the bed's only pod, and waits until
/// `container` has what that has.
async fn change(container: &Container, commands: &str) -> Result<View> {
    network_view::in_namespace(&["sh", "-ec", commands])?;
    let until = Instant::now() + patient(Duration::from_secs(10));
    loop {
        let compared = compare(container).await;
        if compared.is_ok() || Instant::now() > until {
            return compared;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

const GATEWAY_ANSWERS: [&str; 6] = ["ping", "-c", "1", "-w", "10", "10.88.0.1"];

/// What a plugin's daemon adds while the pod runs.
async fn what_comes_later(bed: &Bed) -> Result<()> {
    let (pod, container) = serving(bed, "later").await?;
    let commands = "ip address add 10.77.0.2/24 dev eth0
         ip address add fd77::2/64 dev eth0 nodad
         ip address add 10.9.9.9/32 dev lo
         ip route add 10.66.0.0/16 via 10.88.0.1 mtu 1400
         ip route add blackhole 10.65.0.0/16
         ip route add default via 10.77.0.1 table 77
         ip rule add from 10.77.0.2 table 77 priority 77
         ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev eth0";
    let view = change(&container, commands).await?;
    let lines: &[&[&str]] = &[
        &["address", "10.77.0.2", "/24"],
        &["address", "10.9.9.9", "/32"],
        &["10.66.0.0/16", "10.88.0.1"],
        &["blackhole", "10.65.0.0/16"],
        &["default", "10.77.0.1", "77"],
        &["10.77.0.9", "02:00:00:00:00:09"],
    ];
    expect(&view, lines)?;
    container.ask(&GATEWAY_ANSWERS).await?;
    pod.remove().await
}

/// The other way round; an address in the place of the first one, with which the
/// kernel takes the interface's routes.
async fn what_goes_later(bed: &Bed) -> Result<()> {
    let commands = "ip route add 10.66.0.0/16 via 10.88.0.1
         ip rule add from 10.66.0.0/16 table 77 priority 77
         ip neigh add 10.88.0.9 lladdr 02:00:00:00:00:09 dev eth0";
    let network = bridge_and(bed, "goes", commands)?;
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "goes").await?;
    let view = compare(&container).await?;
    expect(&view, &[&["10.66.0.0/16", "10.88.0.1"]])?;
    let commands = "ip route del 10.66.0.0/16
         ip rule del priority 77
         ip neigh del 10.88.0.9 dev eth0";
    let view = change(&container, commands).await?;
    ensure!(!view.has(&["10.66.0.0/16"]), "it is still there: {view:#?}");
    let commands = "ip address flush dev eth0 scope global
         ip address add 10.88.200.2/16 dev eth0
         ip route add default via 10.88.0.1";
    let view = change(&container, commands).await?;
    expect(&view, &[&["address", "10.88.200.2", "/16"], &["default"]])?;
    container.ask(&GATEWAY_ANSWERS).await?;
    pod.remove().await?;
    networks.restore().await
}
