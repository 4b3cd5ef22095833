//! What Kubernetes and its agents do to a pod's packets on the node: services, host
//! ports, policies, bounds on bandwidth.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::bed::{BRIDGE, Bed, Network, Networks, addresses};
use crate::harness::cases;
use crate::node;
use crate::pod::{Container, Pod, PodSpec, pod};
use crate::traffic::{self, PORT, PROGRAM};

cases![any: cluster_address, host_port, policy, bandwidth];

/// A service's address, which no interface has.
const SERVICE: &str = "10.96.0.10";

const SOME: u64 = 1 << 20;

/// A network on which all packets of pods go through the node's own stack.
async fn routed(bed: &Bed) -> Result<Networks<'_>> {
    let ipam = addresses(&["10.89.0.0/24"]);
    let plugin = json!({"type": "ptp", "ipam": ipam});
    bed.networks(vec![Network::new("routed", plugin)]).await
}

/// A pod that answers traffic; its container, and its first address.
async fn serving(bed: &Bed, spec: PodSpec) -> Result<(Pod, Container, String)> {
    let pod = spec.run(bed).await?;
    let container = traffic::server("main")?.start(&pod).await?;
    let address = pod.addresses().await?.swap_remove(0);
    Ok((pod, container, address))
}

/// The node gets an echo from there.
async fn echo_to_node(to: &str, port: u16) -> Result<()> {
    let to: IpAddr = to.parse().context("an address")?;
    let to = (to, port).into();
    let echoed = spawn_blocking(move || {
        traffic::await_server(to)?;
        traffic::echo(to, SOME)
    });
    echoed.await?.context("from the node")
}

async fn echo_to(container: &Container, to: &str) -> Result<()> {
    let echo = [PROGRAM, "echo", to, &SOME.to_string()];
    container.ask(&echo).await.map(drop)
}

async fn is_open(address: &str, port: u16) -> Result<bool> {
    let address = address.to_owned();
    spawn_blocking(move || traffic::is_open(&address, port)).await?
}

/// As kube-proxy has it: what is for the service is for the pod instead, and a pod
/// that is led to itself sees the node ask.
async fn cluster_address(bed: &Bed) -> Result<()> {
    let networks = routed(bed).await?;
    let (server, container, address) = serving(bed, pod("server")).await?;
    let (client, asker, _) = serving(bed, pod("client")).await?;
    node::run_all(&format!(
        "iptables -t nat -N SERVICES
         iptables -t nat -A PREROUTING -j SERVICES
         iptables -t nat -A OUTPUT -j SERVICES
         iptables -t nat -A SERVICES -d {SERVICE} -p tcp --dport 80 -j DNAT --to {address}:{PORT}
         iptables -t nat -A POSTROUTING -s {address} -d {address} -j MASQUERADE
         ip route add {SERVICE} dev lo"
    ))?;
    let service = format!("{SERVICE}:80");
    echo_to_node(SERVICE, 80).await?;
    echo_to(&asker, &service).await.context("from a pod")?;
    echo_to(&container, &service)
        .await
        .context("from the pod itself")?;
    node::run_all(&format!("iptables -t nat -F\nip route delete {SERVICE}"))?;
    client.remove().await?;
    server.remove().await?;
    networks.restore().await
}

async fn host_port(bed: &Bed) -> Result<()> {
    let bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": true,
        "ipMasq": true,
        "hairpinMode": true,
        "ipam": addresses(&["10.88.0.0/16"]),
    });
    let ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let network = Network::new("ports", bridge).then(ports);
    let networks = bed.networks(vec![network]).await?;
    let spec = pod("server").port(8089, PORT.into());
    let (server, container, _) = serving(bed, spec).await?;
    let (client, asker, _) = serving(bed, pod("client")).await?;
    echo_to_node("127.0.0.1", 8089).await.context("localhost")?;
    echo_to_node("10.88.0.1", 8089).await?;
    echo_to(&asker, "10.88.0.1:8089")
        .await
        .context("from a pod")?;
    echo_to(&container, "10.88.0.1:8089")
        .await
        .context("from the pod itself")?;
    client.remove().await?;
    server.remove().await?;
    networks.restore().await
}

/// Rules of the node on forwarded packets, and filters at the pod's end of the
/// wire there: both are how policies are enforced.
async fn policy(bed: &Bed) -> Result<()> {
    let networks = routed(bed).await?;
    let (server, container, address) = serving(bed, pod("server")).await?;
    let (client, asker, _) = serving(bed, pod("client")).await?;
    let ask = async |port: &str| {
        let nc = format!("nc -w 3 {address} {port} </dev/null");
        anyhow::Ok(asker.exec(&["sh", "-c", &nc]).await?.code == Some(0))
    };
    let serve = "httpd -h / -p 81 && httpd -h / -p 82";
    container.ask(&["sh", "-c", serve]).await?;
    ensure!(ask("81").await?, "the pod is shut before there is a policy");

    let rule = "FORWARD -p tcp --dport 81 -j DROP";
    node::run_all(&format!("iptables -A {rule}"))?;
    ensure!(!ask("81").await?, "the rule of the node does nothing");
    ensure!(ask("82").await?, "the rule of the node shuts other ports");
    node::run_all(&format!("iptables -D {rule}"))?;
    ensure!(ask("81").await?, "the pod is shut after the policy went");

    let wire = wire_to(&address)?;
    // Not every kernel can drop by a filter; an interface that is down takes nothing.
    node::run(&["ip", "link", "add", "sink0", "type", "ifb"])?;
    let drop = "mirred egress redirect dev sink0";
    for (direction, port) in [("ingress", "sport"), ("egress", "dport")] {
        node::run_all(&format!(
            "tc qdisc add dev {wire} clsact
             tc filter add dev {wire} {direction} protocol ip u32 match ip {port} 81 0xffff action {drop}"
        ))?;
        ensure!(!is_open(&address, 81).await?, "{direction} is not filtered");
        ensure!(is_open(&address, 82).await?, "{direction} is shut");
        node::run(&["tc", "qdisc", "delete", "dev", &wire, "clsact"])?;
        ensure!(is_open(&address, 81).await?, "{direction} stays shut");
    }
    node::run(&["ip", "link", "delete", "sink0"])?;
    client.remove().await?;
    server.remove().await?;
    networks.restore().await
}

/// The node's end of the wire to `address`.
fn wire_to(address: &str) -> Result<String> {
    let route = node::run(&["ip", "-o", "route", "get", address])?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    words
        .nth(1)
        .map(str::to_owned)
        .context("a route has no dev")
}

/// `kubernetes.io/ingress-bandwidth` and `-egress-bandwidth`: the packets of both
/// directions go through what bounds them.
async fn bandwidth(bed: &Bed) -> Result<()> {
    let ipam = addresses(&["10.89.0.0/24"]);
    let bounds = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    let network = Network::new("bounded", json!({"type": "ptp", "ipam": ipam})).then(bounds);
    let networks = bed.networks(vec![network]).await?;
    let spec = pod("bounded")
        .annotation("kubernetes.io/ingress-bandwidth", "100M")
        .annotation("kubernetes.io/egress-bandwidth", "100M");
    let (pod, _, address) = serving(bed, spec).await?;
    echo_to_node(&address, PORT).await?;
    let shown = node::run(&["tc", "-s", "qdisc", "show"])?;
    let passed = bytes_through_bounds(&shown);
    ensure!(passed.len() == 2, "there are not two bounds: {shown}");
    ensure!(passed.iter().all(|bytes| *bytes > SOME), "{passed:?} bytes");
    pod.remove().await?;
    networks.restore().await
}

/// Of each token bucket: `qdisc tbf ...`, then ` Sent 7 bytes ...`.
fn bytes_through_bounds(shown: &str) -> Vec<u64> {
    let of_next_line = |line: &str| line.split_whitespace().nth(1)?.parse().ok();
    let lines = shown.lines().zip(shown.lines().skip(1));
    lines
        .filter(|(head, _)| head.starts_with("qdisc tbf"))
        .filter_map(|(_, next)| of_next_line(next))
        .collect()
}
