//! The pod's network, seen from the pod and from the node.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ctl::cri::v1::{DnsConfig, MountPropagation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::bed::{BRIDGE, Bed, Handler};
use crate::harness::{cases, patient};
use crate::node;
use crate::pod::{ContainerSpec, container, pod};
use crate::traffic::{self, PROGRAM, Server};

cases![
    any: addresses_of_both_families,
    node_reaches_pod,
    pod_reaches_pod,
    data_is_whole_both_ways,
    names,
    wire_is_cut_and_mended,
    interface_goes;
    built_in: packets_are_moved_as_configured
];

/// Answers one line on port 80, on all addresses.
const SERVER: &str = "while :; do echo hello | nc -l -p 80; done";

/// Bytes that a connection carries.
const LARGE: u64 = 8 << 20;

/// Of datagrams: within a packet, at its edge, of two and of many.
const DATAGRAMS: &[&str] = &["1", "1472", "1473", "9000", "60000"];

async fn addresses_of_both_families(bed: &Bed) -> Result<()> {
    let pod = pod("addresses").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let inside = container
        .ask(&["ip", "-o", "address", "show", "dev", "eth0"])
        .await?;
    let addresses = pod.addresses().await?;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in addresses {
        assert!(
            inside.contains(&format!(" {address}/")),
            "{address} is not in:\n{inside}"
        );
    }
    let route = container.ask(&["ip", "route"]).await?;
    assert!(route.contains("default via 10.88.0.1 dev eth0"), "{route}");
    pod.remove().await
}

async fn node_reaches_pod(bed: &Bed) -> Result<()> {
    let pod = pod("server").run(bed).await?;
    container("main", &["sh", "-c", SERVER]).start(&pod).await?;
    for address in pod.addresses().await? {
        assert_eq!(read_line(&address).await?, "hello\n", "from {address}");
    }
    pod.remove().await
}

/// What listens on `address`, port 80, says. It may not listen yet.
async fn read_line(address: &str) -> Result<String> {
    let attempt = async {
        let mut stream = connect(address).await;
        stream.shutdown().await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        anyhow::Ok(text)
    };
    within(address, attempt).await
}

/// How many bytes it sends to one who says nothing.
async fn read_bytes(address: &str) -> Result<usize> {
    let attempt = async {
        let mut bytes = Vec::new();
        connect(address).await.read_to_end(&mut bytes).await?;
        anyhow::Ok(bytes.len())
    };
    within(address, attempt).await
}

async fn connect(address: &str) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect((address, 80)).await {
            return stream;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn within<T>(address: &str, attempt: impl Future<Output = Result<T>>) -> Result<T> {
    let read = timeout(patient(Duration::from_secs(20)), attempt).await;
    read.with_context(|| format!("nothing listens on {address}, port 80"))?
}

async fn pod_reaches_pod(bed: &Bed) -> Result<()> {
    let server = pod("server").run(bed).await?;
    container("main", &["sh", "-c", SERVER])
        .start(&server)
        .await?;
    let client = pod("client").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&client).await?;
    for address in server.addresses().await? {
        let fetch = format!("until nc {address} 80 < /dev/null; do sleep 0.1; done 2>/dev/null");
        assert_eq!(
            container.ask(&["sh", "-c", &fetch]).await?,
            "hello",
            "from {address}"
        );
    }
    client.remove().await?;
    server.remove().await
}

/// Pods in VMs and under runc, and the node: connections, datagrams of one packet
/// and of many, echoes that are larger than a packet.
async fn data_is_whole_both_ways(bed: &Bed) -> Result<()> {
    let ours = pod("ours").run(bed).await?;
    let inside = traffic::server("main")?.start(&ours).await?;
    let other = pod("other").handler(Handler::Runc).run(bed).await?;
    let beside = traffic::server("main")?.start(&other).await?;
    for (from, to) in [(&inside, &other), (&beside, &ours)] {
        for address in to.addresses().await? {
            let length = LARGE.to_string();
            from.ask(&[PROGRAM, "echo", &address, &length]).await?;
            let datagrams = [&[PROGRAM, "datagrams", &address], DATAGRAMS].concat();
            from.ask(&datagrams).await?;
            let echo = ["ping", "-c", "1", "-w", "10", "-s", "20000", &address];
            from.ask(&echo).await?;
        }
    }
    let server = Server::bind((Ipv6Addr::UNSPECIFIED, 0).into())?;
    let port = server.address.port();
    std::thread::spawn(|| server.run());
    for node in ["10.88.0.1", "[fd88::1]"] {
        let to = format!("{node}:{port}");
        let echo = [PROGRAM, "echo", &to, &LARGE.to_string()];
        inside.ask(&echo).await?;
    }
    other.remove().await?;
    ours.remove().await
}

/// Name servers and the host's name are the pod's, and `/etc/hosts` is the file
/// that kubelet wrote.
async fn names(bed: &Bed) -> Result<()> {
    let hosts = bed.layout.scratch("hosts");
    let text = "127.0.0.1\tlocalhost\n10.88.7.7\tnamed\n";
    fs::write(&hosts, text).context("write a hosts file")?;
    let dns = DnsConfig {
        servers: vec!["10.96.0.53".to_owned()],
        searches: vec!["e2e.svc.cluster.local".to_owned()],
        options: vec!["ndots:5".to_owned()],
    };
    let pod = pod("named").dns(dns).run(bed).await?;
    let private = MountPropagation::PropagationPrivate;
    let container = ContainerSpec::idle("main");
    let container = container.mount(&hosts, "/etc/hosts", private, false);
    let container = container.start(&pod).await?;
    let resolver = container.ask(&["cat", "/etc/resolv.conf"]).await?;
    for line in [
        "nameserver 10.96.0.53",
        "search e2e.svc.cluster.local",
        "options ndots:5",
    ] {
        assert!(resolver.contains(line), "{line:?} is not in {resolver:?}");
    }
    assert_eq!(container.ask(&["hostname"]).await?, "named");
    assert_eq!(container.ask(&["cat", "/etc/hosts"]).await? + "\n", text);
    let ping = container
        .exec(&["ping", "-c", "1", "-w", "1", "named"])
        .await?;
    assert!(ping.stdout.contains("(10.88.7.7)"), "{ping:?}");
    pod.remove().await
}

/// The node's end of the only pod's wire.
fn wire() -> Result<String> {
    let ports = fs::read_dir(format!("/sys/class/net/{BRIDGE}/brif"));
    let mut ports = ports.context("list the bridge's ports")?;
    let port = ports.next().context("nothing is on the bridge")??;
    Ok(port.file_name().to_string_lossy().into_owned())
}

async fn wire_is_cut_and_mended(bed: &Bed) -> Result<()> {
    let pod = pod("cut").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let ping = ["ping", "-c", "1", "-w", "1", "10.88.0.1"];
    let again = "until ping -c 1 -w 1 10.88.0.1 >/dev/null; do :; done";
    container.ask(&["sh", "-c", again]).await?;
    let wire = wire()?;
    node::run(&["ip", "link", "set", &wire, "down"])?;
    let cut = container.exec(&ping).await?;
    assert_ne!(cut.code, Some(0), "{cut:?}");
    node::run(&["ip", "link", "set", &wire, "up"])?;
    container.ask(&["sh", "-c", again]).await?;
    pod.remove().await
}

/// A wire that somebody took away is not missed when the pod goes.
async fn interface_goes(bed: &Bed) -> Result<()> {
    let pod = pod("gone").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    node::run(&["ip", "link", "delete", &wire()?])?;
    assert_eq!(container.ask(&["echo", "here"]).await?, "here");
    pod.remove().await
}

/// So many bytes to whoever calls port 80.
const PUMP: &str = "while :; do dd if=/dev/zero bs=64k count=64 2>/dev/null | nc -l -p 80; done";
const PUMPED: usize = 64 * 64 * 1024;

/// By the host's kernel where it has vhost-net, unless the operator does not want
/// it to: that shows in what the VMM has open.
async fn packets_are_moved_as_configured(bed: &Bed) -> Result<()> {
    for (setting, by_kernel) in [("auto", probe::vhost_net()), ("never", false)] {
        let _changed = bed.configure("built_in.vhost_net", setting)?;
        let pod = pod("moved").run(bed).await?;
        let vmm = pod.record()?.pids.vmm;
        assert_eq!(open_vhost_nets(vmm)?, usize::from(by_kernel), "{setting}");
        container("main", &["sh", "-c", PUMP]).start(&pod).await?;
        for address in pod.addresses().await? {
            let received = read_bytes(&address).await?;
            assert_eq!(received, PUMPED, "{setting}, from {address}");
        }
        pod.remove().await?;
    }
    Ok(())
}

fn open_vhost_nets(pid: u32) -> Result<usize> {
    let mut count = 0;
    let folder = format!("/proc/{pid}/fd");
    for entry in fs::read_dir(&folder).with_context(|| format!("read {folder}"))? {
        count += usize::from(fs::read_link(entry?.path())? == Path::new("/dev/vhost-net"));
    }
    Ok(count)
}
