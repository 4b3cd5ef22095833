//! The pod's network: whatever the CNI plugins left in the pod's network
//! namespace is mirrored into the guest. Each interface gets a tap beside it;
//! what arrives at one leaves by the other (tc ingress redirect), and the
//! agent gives the guest's interface the same addresses and routes.

mod error;
mod filter;
mod inspect;
mod link;
mod loopback;
mod namespace;
mod redirect;
mod route;
mod rule;
mod tap;

use std::os::fd::OwnedFd;
use std::path::Path;

use futures::TryStreamExt;
use nix::libc;
use protocol::agent::{Interface, Loopback, Neighbour, Route, Rule};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::{Handle, IpVersion};
use vmm_api::NetConfig;

pub(crate) use error::NetworkError;
use link::{Link, Seen};
use redirect::TapLink;

/// A pod's interfaces, mirrored. The taps live as long as somebody holds
/// their descriptors.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) nets: Vec<NetConfig>,
    pub(crate) taps: Vec<OwnedFd>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) routes: Vec<Route>,
    pub(crate) neighbours: Vec<Neighbour>,
    pub(crate) rules: Vec<Rule>,
    /// `None`: nobody on the host reaches the guest's localhost.
    pub(crate) loopback: Option<Loopback>,
}

impl Network {
    /// Mirrors the interfaces of the namespace at `path`.
    pub(crate) async fn mirror(path: &Path) -> Result<Self, NetworkError> {
        let handle = namespace::netlink(path)?;
        let addresses = addresses(&handle).await?;
        let links = links(&handle, &addresses).await?;
        let mut network = Self::describe(&handle, &links, &addresses).await?;
        for (index, link) in links.iter().enumerate() {
            let tap = namespace::run_in(path, || tap::open(index))??;
            let joined = redirect::connect(&handle, link, &tap.name).await?;
            network.taps.push(tap.fd);
            if index == 0 {
                network.loopback = lead_loopback(&handle, path, link, &joined).await;
            }
        }
        Ok(network)
    }

    async fn describe(
        handle: &Handle,
        links: &[Link],
        addresses: &[AddressMessage],
    ) -> Result<Self, NetworkError> {
        let neighbours: Vec<_> = handle
            .neighbours()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(read("neighbours"))?;
        let own = links.iter().map(|link| inspect::interface(link, addresses));
        Ok(Self {
            nets: links.iter().map(Link::net_config).collect(),
            taps: Vec::new(),
            interfaces: own.chain(inspect::loopback(addresses)).collect(),
            routes: routes(handle)
                .await?
                .iter()
                .filter_map(|message| route::route(message, links))
                .collect(),
            neighbours: neighbours
                .iter()
                .filter_map(|n| inspect::neighbour(n, links))
                .collect(),
            rules: rules(handle).await?.iter().filter_map(known_rule).collect(),
            loopback: None,
        })
    }
}

/// A pod that cannot be port-forwarded to is better than none.
async fn lead_loopback(
    handle: &Handle,
    path: &Path,
    link: &Link,
    tap: &TapLink,
) -> Option<Loopback> {
    let led = loopback::lead(handle, path, link, tap).await;
    led.map_err(|error| {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "port-forward will not reach this pod");
    })
    .ok()
}

/// In the order of their making, which is that of the guest's devices.
async fn links(handle: &Handle, addresses: &[AddressMessage]) -> Result<Vec<Link>, NetworkError> {
    let messages: Vec<_> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(read("interfaces"))?;
    let mut links = Vec::new();
    for message in &messages {
        match link::see(message) {
            Seen::Mirrored(link) => links.push(link),
            Seen::Impossible(link) if inspect::is_addressed(link.index, addresses) => {
                let (interface, kind) = (link.name, link.kind);
                return Err(NetworkError::Impossible { interface, kind });
            }
            Seen::Unused | Seen::Impossible(_) => {}
        }
    }
    links.sort_by_key(|link| link.index);
    Ok(links)
}

async fn addresses(handle: &Handle) -> Result<Vec<AddressMessage>, NetworkError> {
    let found = handle.address().get().execute().try_collect();
    found.await.map_err(read("addresses"))
}

async fn routes(handle: &Handle) -> Result<Vec<RouteMessage>, NetworkError> {
    let mut routes = Vec::new();
    for family in [route::all_v4(), route::all_v6()] {
        let found = handle.route().get(family).execute().try_collect();
        let found: Vec<_> = found.await.map_err(read("routes"))?;
        routes.extend(found);
    }
    Ok(routes)
}

async fn rules(handle: &Handle) -> Result<Vec<RuleMessage>, NetworkError> {
    let mut rules = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let found = handle.rule().get(version).execute().try_collect();
        let found: Vec<_> = found
            .await
            .or_else(no_rules)
            .map_err(read("routing rules"))?;
        rules.extend(found);
    }
    Ok(rules)
}

/// A kernel without several tables, or without the family, has none.
fn no_rules(error: rtnetlink::Error) -> Result<Vec<RuleMessage>, rtnetlink::Error> {
    match error {
        rtnetlink::Error::NetlinkError(message)
            if [-libc::EAFNOSUPPORT, -libc::EOPNOTSUPP].contains(&message.raw_code()) =>
        {
            Ok(Vec::new())
        }
        other => Err(other),
    }
}

fn known_rule(message: &RuleMessage) -> Option<Rule> {
    match rule::rule(message) {
        rule::Found::Rule(rule) => Some(rule),
        rule::Found::Initial => None,
        rule::Found::Unknown => {
            tracing::warn!(?message, "the guest will not have this routing rule");
            None
        }
    }
}

fn read(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |source| NetworkError::Read { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    /// A network namespace as a bridge CNI plugin leaves it; gone when dropped.
    struct Namespace(String);

    impl Namespace {
        fn new() -> Self {
            let name = format!("kata-mshv-test-{}", std::process::id());
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
        let namespace = Namespace::new();
        let network = Network::mirror(&namespace.path()).await.unwrap();

        let [eth0] = &network.interfaces[..] else {
            panic!("{:?}", network.interfaces);
        };
        assert_eq!((eth0.name.as_str(), eth0.mtu), ("eth0", 1450));
        assert_eq!(eth0.addresses, ["10.88.0.5/16", "fd00::5/64"]);
        let routes: Vec<_> = network
            .routes
            .iter()
            .map(|route| (route.destination.as_str(), route.gateway.as_str()))
            .collect();
        assert_eq!(
            routes,
            [("", "10.88.0.1"), ("10.88.0.0/16", ""), ("fd00::/64", "")]
        );
        assert!(network.routes.iter().all(|route| route.interface == "eth0"));
        assert_eq!(network.neighbours[0].hardware_address, "02:00:00:00:00:01");
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

        drop(network);
        let left = namespace.ip(&["link", "show"]);
        assert!(!left.contains("tap-kata"), "{left}");
    }
}
