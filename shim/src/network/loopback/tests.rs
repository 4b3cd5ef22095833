use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::network::Network;

/// Bytes of the virtio-net header before each frame.
const VNET_HEADER: usize = 10;
const V4: [u8; 2] = [0x08, 0x00];
const V6: [u8; 2] = [0x86, 0xdd];
const POD_MAC: &str = "02:00:00:00:00:07";

/// A pod's namespace and the one of its network, joined by a veth pair; gone
/// when dropped.
struct Namespaces {
    pod: String,
    network: String,
}

impl Namespaces {
    fn new(name: &str) -> Self {
        let namespace = |kind| format!("kata-mshv-{name}-{kind}-{}", std::process::id());
        let both = Self {
            pod: namespace("pod"),
            network: namespace("net"),
        };
        ip(&format!("netns add {}", both.pod));
        ip(&format!("netns add {}", both.network));
        let (pod, network) = (&both.pod, &both.network);
        ip(&format!(
            "-n {network} link add host0 type veth peer name eth0 address {POD_MAC} netns {pod}"
        ));
        ip(&format!("-n {pod} link set lo up"));
        ip(&format!("-n {pod} link set eth0 up"));
        ip(&format!("-n {network} link set host0 up"));
        ip(&format!("-n {network} address add 10.88.0.1/24 dev host0"));
        for address in ["10.88.0.5", "127.0.0.1"] {
            ip(&format!(
                "-n {network} neigh add {address} lladdr {POD_MAC} dev host0"
            ));
        }
        both
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.pod));
        ip(&format!("netns delete {}", self.network));
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Dials from inside `namespace`; nobody will answer.
fn dial(namespace: &str, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    namespace::run_in(&path(namespace), || {
        TcpStream::connect_timeout(&address, Duration::from_millis(50))
            .err()
            .unwrap()
    })
    .unwrap();
}

/// All frames that have come to the guest.
fn frames(network: &Network) -> Vec<Vec<u8>> {
    let mut tap = fs::File::from(network.taps[0].try_clone().unwrap());
    let mut buffer = [0; 2048];
    let mut frames = Vec::new();
    while let Ok(length) = tap.read(&mut buffer) {
        frames.push(buffer[VNET_HEADER..length].to_vec());
    }
    frames
}

/// The first that carries TCP, of the Ethernet protocol.
fn tcp(network: &Network, protocol: [u8; 2]) -> Vec<u8> {
    let above = if protocol == V4 { 23 } else { 20 };
    let found = frames(network)
        .into_iter()
        .find(|frame| frame[12..14] == protocol && frame[above] == 6);
    found.expect("no TCP came to the guest")
}

/// The TCP ports of IPv4 for which frames have come to the guest.
fn ports(network: &Network) -> Vec<u16> {
    let frames = frames(network);
    let v4 = frames.iter().filter(|frame| frame[12..14] == V4);
    v4.map(|frame| u16::from_be_bytes([frame[36], frame[37]]))
        .collect()
}

#[tokio::test]
async fn localhost_of_the_namespace_is_the_guests() {
    let namespaces = Namespaces::new("lead");
    let network = Network::mirror(&path(&namespaces.pod)).await.unwrap();
    let told = network.loopback.clone().unwrap();
    assert_eq!(told.interface, "eth0");

    dial(&namespaces.pod, "127.0.0.1:80");
    let v4 = tcp(&network, V4);
    assert_eq!(v4[..6], link::mac_bytes(POD_MAC)[..]);
    assert_eq!(v4[6..12], link::mac_bytes(&told.host_hardware_address)[..]);
    assert_eq!(v4[26..34], [127, 107, 97, 1, 127, 0, 0, 1]);
    assert_eq!(told.host_ipv4, "127.107.97.1");

    dial(&namespaces.pod, "[::1]:80");
    let v6 = tcp(&network, V6);
    let host: Ipv6Addr = told.host_ipv6.parse().unwrap();
    assert_eq!(v6[22..38], host.octets());
    assert_eq!(v6[38..54], Ipv6Addr::LOCALHOST.octets());
}

#[tokio::test]
async fn the_network_does_not_reach_the_guests_localhost() {
    let namespaces = Namespaces::new("guard");
    let network = Network::mirror(&path(&namespaces.pod)).await.unwrap();
    // A neighbour that sends loopback addresses to the pod.
    let neighbour = &namespaces.network;
    namespace::run_in(&path(neighbour), || {
        fs::write("/proc/sys/net/ipv4/conf/host0/route_localnet", "1").unwrap();
    })
    .unwrap();
    ip(&format!("-n {neighbour} link set lo up"));
    ip(&format!(
        "-n {neighbour} route replace 127.0.0.1/32 dev host0 table local src 127.107.97.1"
    ));

    dial(neighbour, "10.88.0.5:81");
    dial(neighbour, "127.0.0.1:82");
    let ports = ports(&network);
    assert!(ports.contains(&81), "{ports:?}");
    assert!(!ports.contains(&82), "{ports:?}");
}
