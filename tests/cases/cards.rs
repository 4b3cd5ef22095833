//! Networks on a card of the node's, of which each pod has a part: by hardware
//! address (macvlan), by address (ipvlan), by tag (vlan). Nothing of the node's own
//! network is in between, so it is a neighbour beyond the card that is reached.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::errors::refused_pod;
use super::plugins::{SOME, bridge_and, expect, reached_from, serving};
use crate::bed::{BRIDGE, Bed, Network, Networks, addresses};
use crate::harness::cases;
use crate::network_view::compare;
use crate::node;
use crate::pod::{Container, Pod, pod};
use crate::segment::{CARD, NEIGHBOUR, SUBNETS, Segment};
use crate::traffic::{self, PORT, PROGRAM};

cases![
    any with Macvlan: macvlan;
    vm with Macvlan: part_of_the_pods_own_is_refused;
    any with Ipvlan: ipvlan, ipvlan_routed;
    vm with Ipvlan: ipvlan_past_the_interface_is_refused;
    any with Vlan: vlan, vlan_in_the_namespace
];

/// The tag of the neighbour's VLAN.
const TAG: u16 = 5;

/// A network on the card by the plugin `kind` with `more` settings.
fn on_card(kind: &'static str, subnets: &[&str], more: Value) -> Network {
    let mut plugin = json!({
        "type": kind,
        "master": CARD,
        "mtu": 1400,
        "ipam": addresses(subnets),
    });
    if let (Value::Object(plugin), Value::Object(mut more)) = (&mut plugin, more) {
        plugin.append(&mut more);
    }
    Network::new(kind, plugin)
}

async fn reaches_neighbour(container: &Container) -> Result<()> {
    for address in NEIGHBOUR {
        container
            .ask(&[PROGRAM, "echo", address, &SOME.to_string()])
            .await?;
        let datagrams = [PROGRAM, "datagrams", address, "1", "1372", "9000"];
        container.ask(&datagrams).await?;
    }
    Ok(())
}

/// A pod on the card, its neighbour and another pod reach each other.
async fn all_reach_each_other(
    bed: &Bed,
    segment: &Segment,
    pod: &Pod,
    container: &Container,
) -> Result<()> {
    reaches_neighbour(container).await?;
    let (second, other) = serving(bed, "second").await?;
    reached_from(container, &second).await?;
    reached_from(&other, pod).await?;
    second.remove().await?;
    segment.reaches(&pod.addresses().await?, SOME).await
}

async fn take_away(pod: Pod, networks: Networks<'_>, segment: Segment) -> Result<()> {
    pod.remove().await?;
    networks.restore().await?;
    segment.remove()
}

/// What follows is the same for the kinds of which several pods have parts.
async fn part_of_a_card(bed: &Bed, network: Network) -> Result<()> {
    let segment = Segment::lay(None)?;
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "first").await?;
    has_both_families(&container).await?;
    all_reach_each_other(bed, &segment, &pod, &container).await?;
    // The container's server has joined it, of which the node does not know.
    segment.calls_the_group().await?;
    take_away(pod, networks, segment).await
}

async fn has_both_families(container: &Container) -> Result<()> {
    let view = compare(container).await?;
    let lines: &[&[&str]] = &[
        &["interface", "eth0", "mtu 1400"],
        &["address", "10.70.0.", "/24"],
        &["address", "fd70::", "/64"],
        &["default", "10.70.0.1", "eth0"],
        &["default", "fd70::1", "eth0"],
    ];
    expect(&view, lines)
}

async fn macvlan(bed: &Bed) -> Result<()> {
    let network = on_card("macvlan", &SUBNETS, json!({"mode": "bridge"}));
    part_of_a_card(bed, network).await
}

async fn ipvlan(bed: &Bed) -> Result<()> {
    let network = on_card("ipvlan", &SUBNETS, json!({"mode": "l2"}));
    part_of_a_card(bed, network).await
}

/// A card has one end of each VLAN, so one pod of a node can.
async fn vlan(bed: &Bed) -> Result<()> {
    let segment = Segment::lay(Some(TAG))?;
    let network = on_card("vlan", &SUBNETS, json!({"vlanId": TAG}));
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "first").await?;
    has_both_families(&container).await?;
    reaches_neighbour(&container).await?;
    segment.reaches(&pod.addresses().await?, SOME).await?;
    take_away(pod, networks, segment).await
}

/// The node routes, and no pod is asked for its hardware address.
const ROUTED: [&str; 2] = ["10.71.0.0/24", "fd71::/64"];

async fn ipvlan_routed(bed: &Bed) -> Result<()> {
    let segment = Segment::lay(None)?;
    node::run_all(&format!(
        "ip address add 10.70.0.254/24 dev {CARD}
        ip address add fd70::fe/64 dev {CARD} nodad"
    ))?;
    segment.ip("route add 10.71.0.0/24 via 10.70.0.254
        route add fd71::/64 via fd70::fe")?;
    let network = on_card("ipvlan", &ROUTED, json!({"mode": "l3"}));
    let networks = bed.networks(vec![network]).await?;
    let (pod, container) = serving(bed, "first").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["interface", "eth0", "mtu 1400 NOARP"],
        &["address", "10.71.0.", "/24"],
        &["default", "fd71::1", "eth0"],
    ];
    expect(&view, lines)?;
    all_reach_each_other(bed, &segment, &pod, &container).await?;
    take_away(pod, networks, segment).await
}

async fn ipvlan_past_the_interface_is_refused(bed: &Bed) -> Result<()> {
    let segment = Segment::lay(None)?;
    let network = on_card("ipvlan", &ROUTED, json!({"mode": "l3s"}));
    let networks = bed.networks(vec![network]).await?;
    refused_pod(
        bed,
        "past",
        pod("past"),
        &["eth0", "ipvlan l3s", "netfilter"],
    )
    .await?;
    networks.restore().await?;
    segment.remove()
}

async fn part_of_the_pods_own_is_refused(bed: &Bed) -> Result<()> {
    let part = "
        ip link add link eth0 name part0 type macvlan mode bridge
        ip link set part0 up
        ip address add 10.67.0.1/24 dev part0";
    let networks = bed.networks(vec![bridge_and(bed, "part", part)?]).await?;
    refused_pod(bed, "part", pod("part"), &["part0", "macvlan", "shares"]).await?;
    networks.restore().await
}

/// On top of the interface that another plugin made, with packets of its own.
const TAGGED: &str = "
ip link add link eth0 name eth0.7 type vlan id 7
ip link set eth0.7 up
ip address add 10.72.0.5/24 dev eth0.7
ip address add fd72::5/64 dev eth0.7 nodad
";

async fn vlan_in_the_namespace(bed: &Bed) -> Result<()> {
    let networks = bed
        .networks(vec![bridge_and(bed, "tagged", TAGGED)?])
        .await?;
    let (pod, container) = serving(bed, "tagged").await?;
    let view = compare(&container).await?;
    expect(
        &view,
        &[
            &["interface", "eth0.7"],
            &["address", "fd72::5", "of \"eth0.7\""],
        ],
    )?;
    // The bridge hands on what is tagged.
    node::run_all(&format!(
        "ip link add link {BRIDGE} name tagged0 type vlan id 7
        ip link set tagged0 up
        ip address add 10.72.0.1/24 dev tagged0
        ip address add fd72::1/64 dev tagged0 nodad"
    ))?;
    let mut to = pod.addresses().await?;
    to.extend(["10.72.0.5".to_owned(), "fd72::5".to_owned()]);
    spawn_blocking(move || to.iter().try_for_each(|to| reached(to))).await??;
    for address in ["10.72.0.1", "fd72::1", "10.88.0.1"] {
        container
            .ask(&["ping", "-c", "1", "-w", "10", "-s", "1400", address])
            .await?;
    }
    node::run(&["ip", "link", "delete", "tagged0"])?;
    pod.remove().await?;
    networks.restore().await
}

fn reached(address: &str) -> Result<()> {
    let to = (address.parse::<std::net::IpAddr>()?, PORT).into();
    traffic::await_server(to)?;
    traffic::echo(to, SOME).with_context(|| format!("from the node to {address}"))
}
