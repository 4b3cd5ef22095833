//! Networks on a card of the node's, of which each pod has a part, by hardware address
//! (macvlan). Nothing of the node's own network is in between, so it is a neighbour
//! beyond the card that is reached.

use anyhow::Result;
use serde_json::json;

use super::errors::refused_pod;
use super::plugins::{SOME, bridge_and, expect, reached_from, serving};
use crate::bed::{Bed, Network, addresses};
use crate::harness::cases;
use crate::network_view::compare;
use crate::pod::{Container, Pod, pod};
use crate::segment::{CARD, NEIGHBOUR, SUBNETS, Segment};
use crate::traffic::PROGRAM;

cases![
    any with Macvlan: macvlan;
    vm with Macvlan: part_of_the_pods_own_is_refused
];

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

async fn macvlan(bed: &Bed) -> Result<()> {
    let segment = Segment::lay()?;
    let plugin = json!({
        "type": "macvlan",
        "master": CARD,
        "mode": "bridge",
        "mtu": 1400,
        "ipam": addresses(&SUBNETS),
    });
    let networks = bed.networks(vec![Network::new("macvlan", plugin)]).await?;
    let (pod, container) = serving(bed, "first").await?;
    let view = compare(&container).await?;
    let lines: &[&[&str]] = &[
        &["interface", "eth0", "mtu 1400"],
        &["address", "10.70.0.", "/24"],
        &["address", "fd70::", "/64"],
        &["default", "10.70.0.1", "eth0"],
        &["default", "fd70::1", "eth0"],
    ];
    expect(&view, lines)?;
    all_reach_each_other(bed, &segment, &pod, &container).await?;
    // The container's server has joined it, of which the node does not know.
    segment.calls_the_group().await?;
    pod.remove().await?;
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
