use super::*;
use protocol::agent::UpdateNetworkRequest;
use std::path::PathBuf;
use std::process::Command;

/// What a plugin sets beside.
const SETTING: &str = "net.ipv4.conf.eth0.arp_filter=1";

/// A network namespace as a bridge CNI plugin leaves it; gone when dropped.
struct Namespace(String);

impl Namespace {
    fn new(purpose: &str) -> Self {
        let name = format!("kata-mshv-{purpose}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        namespace.ip(&[
            "link", "add", "host0", "type", "veth", "peer", "name", "eth0",
        ]);
        namespace.ip(&[
            "link",
            "set",
            "eth0",
            "address",
            "02:00:00:00:00:07",
            "mtu",
            "1450",
        ]);
        namespace.ip(&["link", "set", "host0", "up"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
        namespace.ip(&["address", "add", "10.88.0.5/16", "dev", "eth0"]);
        namespace.ip(&["-6", "address", "add", "fd00::5/64", "dev", "eth0", "nodad"]);
        namespace.ip(&["route", "add", "default", "via", "10.88.0.1"]);
        namespace.ip(&[
            "neigh",
            "add",
            "10.88.0.1",
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "eth0",
        ]);
        // Down: nobody talks through it.
        namespace.ip(&["link", "set", "host0", "down"]);
        namespace
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    fn ip(&self, args: &[&str]) -> String {
        ip(&[&["-n", &self.0], args].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(args: &[&str]) -> String {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn what_a_cni_plugin_left_is_mirrored() {
    let namespace = Namespace::new("mirror");
    ip(&["netns", "exec", &namespace.0, "sysctl", "-qw", SETTING]);
    let mut network = Network::mirror(&namespace.path()).await.unwrap();

    let [eth0] = &network.state.interfaces[..] else {
        panic!("{:?}", network.state.interfaces);
    };
    assert_eq!((eth0.name.as_str(), eth0.mtu), ("eth0", 1450));
    assert_eq!(eth0.addresses, ["10.88.0.5/16", "fd00::5/64"]);
    let routes: Vec<_> = network
        .state
        .routes
        .iter()
        .map(|route| (route.destination.as_str(), route.gateway.as_str()))
        .collect();
    assert_eq!(
        routes,
        [("", "10.88.0.1"), ("10.88.0.0/16", ""), ("fd00::/64", "")]
    );
    assert!(
        network
            .state
            .routes
            .iter()
            .all(|route| route.interface == "eth0")
    );
    assert_eq!(
        network.state.neighbours[0].hardware_address,
        "02:00:00:00:00:01"
    );
    assert_eq!(network.nets[0].mac, "02:00:00:00:00:07");
    let filters = Command::new("tc")
        .args([
            "-n",
            &namespace.0,
            "filter",
            "show",
            "dev",
            "eth0",
            "ingress",
        ])
        .output()
        .unwrap();
    let filters = String::from_utf8_lossy(&filters.stdout).into_owned();
    assert!(
        filters.contains("Egress Redirect to device tap-kata0"),
        "{filters}"
    );

    let settings = network.settings().await.unwrap();
    let settings: Vec<_> = settings
        .iter()
        .map(|sysctl| (sysctl.name.as_str(), sysctl.value.as_str()))
        .collect();
    assert_eq!(settings, [("net/ipv4/conf/eth0/arp_filter", "1")]);

    drop(network);
    let left = namespace.ip(&["link", "show"]);
    assert!(!left.contains("tap-kata"), "{left}");
}

#[tokio::test]
async fn what_comes_and_goes_later_is_told() {
    let namespace = Namespace::new("follow");
    let mut network = Network::mirror(&namespace.path()).await.unwrap();
    let mut changes = network.changes.take().unwrap();
    namespace.ip(&["address", "add", "10.77.0.6/24", "dev", "eth0"]);
    namespace.ip(&["route", "add", "blackhole", "10.99.0.0/16"]);
    namespace.ip(&["address", "del", "10.88.0.5/16", "dev", "eth0"]);
    let addresses_gone = |update: &UpdateNetworkRequest| -> Vec<_> {
        let interfaces = update.gone.interfaces.iter();
        interfaces.flat_map(|i| i.addresses.clone()).collect()
    };
    let mut gone = Vec::new();
    let present = loop {
        let update = changes.next().await.unwrap().unwrap();
        gone.extend(addresses_gone(&update));
        if !gone.is_empty() {
            break update.present.unwrap();
        }
    };
    assert_eq!(gone, ["10.88.0.5/16"]);
    assert_eq!(
        present.interfaces[0].addresses,
        ["10.77.0.6/24", "fd00::5/64"]
    );
    let destinations: Vec<_> = present.routes.iter().map(|r| &r.destination).collect();
    assert!(
        destinations.contains(&&"10.99.0.0/16".to_owned()),
        "{present}"
    );

    // Without another change.
    changes.refused();
    let again = changes.next().await.unwrap().unwrap();
    assert_eq!(addresses_gone(&again), ["10.88.0.5/16"]);
    changes.taken();
    namespace.ip(&["route", "del", "blackhole", "10.99.0.0/16"]);
    let next = changes.next().await.unwrap().unwrap();
    assert!(addresses_gone(&next).is_empty(), "{next}");
}
