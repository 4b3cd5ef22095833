//! Netlink's words about a namespace, turned into the agent's. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol::agent::{Family, Interface, Neighbour, Route};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteType,
};
use vmm_api::NetConfig;

/// An interface worth mirroring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) mtu: u32,
    pub(super) no_arp: bool,
}

impl Link {
    pub(super) fn net_config(&self) -> NetConfig {
        NetConfig {
            mac: self.mac.clone(),
            mtu: self.mtu,
        }
    }
}

/// `None` for what a pod does not talk through: the loopback, interfaces that
/// are down, and the fallback devices of tunnel modules.
pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    if !ethernet || !flags.contains(LinkFlags::Up) || flags.contains(LinkFlags::Loopback) {
        return None;
    }
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: String::new(),
        mtu: 1500,
        no_arp: flags.contains(LinkFlags::Noarp),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.mac = mac(address),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    Some(link)
}

/// The bytes of a hardware address as [`mac`] writes it.
pub(super) fn mac_bytes(text: &str) -> Vec<u8> {
    text.split(':')
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect()
}

pub(super) fn mac(address: &[u8]) -> String {
    address
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// `link` with those of `addresses` that are its own. Link-local addresses of
/// IPv6 the guest makes by itself.
pub(super) fn interface(link: &Link, addresses: &[AddressMessage]) -> Interface {
    let own = |message: &&AddressMessage| {
        message.header.index == link.index
            && !(message.header.family == AddressFamily::Inet6
                && message.header.scope == AddressScope::Link)
    };
    Interface {
        name: link.name.clone(),
        hardware_address: link.mac.clone(),
        mtu: link.mtu,
        addresses: addresses.iter().filter(own).filter_map(cidr).collect(),
        no_arp: link.no_arp,
        ..Default::default()
    }
}

fn cidr(message: &AddressMessage) -> Option<String> {
    // On a point-to-point link `Address` is the peer's, `Local` ours.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(address),
            _ => None,
        });
    let any = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(address),
            _ => None,
        });
    Some(format!("{}/{}", local.or(any)?, message.header.prefix_len))
}

pub(super) fn all_routes_v4() -> RouteMessage {
    all_routes(AddressFamily::Inet)
}

pub(super) fn all_routes_v6() -> RouteMessage {
    all_routes(AddressFamily::Inet6)
}

fn all_routes(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message
}

/// `None` for routes that leave by no mirrored interface, for what the guest
/// learns or makes by itself (router advertisements, link-local prefixes), and
/// for tables beside the main one. Connected routes are passed on: a plugin may
/// have taken them away, so the guest must not make them from its addresses.
pub(super) fn route(message: &RouteMessage, links: &[Link]) -> Option<Route> {
    let header = &message.header;
    let ours = header.kind == RouteType::Unicast
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.protocol != RouteProtocol::Ra
        && !to_link_local(message);
    if !ours {
        return None;
    }
    let mut route = Route {
        family: family(header.address_family)?.into(),
        scope: u8::from(header.scope).into(),
        onlink: header.flags.contains(RouteFlags::Onlink),
        ..Default::default()
    };
    for attribute in &message.attributes {
        apply(
            &mut route,
            attribute,
            header.destination_prefix_length,
            links,
        );
    }
    (!route.interface.is_empty()).then_some(route)
}

fn to_link_local(message: &RouteMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => ip.is_unicast_link_local(),
        _ => false,
    })
}

fn apply(route: &mut Route, attribute: &RouteAttribute, prefix: u8, links: &[Link]) {
    match attribute {
        RouteAttribute::Destination(to) => {
            route.destination = ip(to)
                .map(|ip| format!("{ip}/{prefix}"))
                .unwrap_or_default();
        }
        RouteAttribute::Gateway(gateway) => {
            route.gateway = ip(gateway).map(|ip| ip.to_string()).unwrap_or_default();
        }
        RouteAttribute::PrefSource(source) => {
            route.source = ip(source).map(|ip| ip.to_string()).unwrap_or_default();
        }
        RouteAttribute::Oif(index) => route.interface = name_of(*index, links),
        RouteAttribute::Priority(priority) => route.priority = *priority,
        RouteAttribute::Metrics(metrics) => {
            for metric in metrics {
                if let RouteMetric::Mtu(mtu) = metric {
                    route.mtu = *mtu;
                }
            }
        }
        _ => {}
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::FAMILY_IPV4),
        AddressFamily::Inet6 => Some(Family::FAMILY_IPV6),
        _ => None,
    }
}

fn name_of(index: u32, links: &[Link]) -> String {
    links
        .iter()
        .find(|link| link.index == index)
        .map(|link| link.name.clone())
        .unwrap_or_default()
}

/// Only what somebody set by hand: the guest learns the rest by itself.
pub(super) fn neighbour(message: &NeighbourMessage, links: &[Link]) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mut neighbour = Neighbour {
        interface: name_of(message.header.ifindex, links),
        ..Default::default()
    };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(address) => {
                neighbour.address = neighbour_ip(address)?.to_string();
            }
            NeighbourAttribute::LinkLayerAddress(address) => {
                neighbour.hardware_address = mac(address);
            }
            _ => {}
        }
    }
    let whole = !neighbour.interface.is_empty() && !neighbour.hardware_address.is_empty();
    whole.then_some(neighbour)
}

fn neighbour_ip(address: &NeighbourAddress) -> Option<IpAddr> {
    let ip = match address {
        NeighbourAddress::Inet(ip) => IpAddr::from(*ip),
        NeighbourAddress::Inet6(ip) => IpAddr::from(*ip),
        _ => return None,
    };
    (!is_multicast_or_unspecified(ip)).then_some(ip)
}

fn is_multicast_or_unspecified(ip: IpAddr) -> bool {
    ip.is_multicast()
        || ip == IpAddr::from(Ipv4Addr::UNSPECIFIED)
        || ip == IpAddr::from(Ipv6Addr::UNSPECIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth0() -> Link {
        Link {
            index: 2,
            name: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: 1450,
            no_arp: false,
        }
    }

    fn link_message(flags: LinkFlags, kind: LinkLayerType) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.flags = flags;
        message.header.link_layer_type = kind;
        message.attributes = vec![
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            LinkAttribute::Mtu(1450),
        ];
        message
    }

    #[test]
    fn only_ethernet_that_is_up_is_mirrored() {
        assert_eq!(
            link(&link_message(LinkFlags::Up, LinkLayerType::Ether)),
            Some(eth0())
        );
        assert_eq!(
            link(&link_message(LinkFlags::empty(), LinkLayerType::Ether)),
            None
        );
        assert_eq!(
            link(&link_message(LinkFlags::Up, LinkLayerType::Tunnel)),
            None
        );
    }

    #[test]
    fn the_default_route_of_a_cni_bridge() {
        let mut message = all_routes_v4();
        message.header.kind = RouteType::Unicast;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.attributes = vec![
            RouteAttribute::Gateway(RouteAddress::Inet([10, 88, 0, 1].into())),
            RouteAttribute::Oif(2),
        ];
        let route = route(&message, &[eth0()]).unwrap();
        assert_eq!(
            (route.destination.as_str(), route.gateway.as_str()),
            ("", "10.88.0.1")
        );
        assert_eq!(route.interface, "eth0");

        message.header.protocol = RouteProtocol::Ra;
        assert!(super::route(&message, &[eth0()]).is_none());
    }

    #[test]
    fn connected_routes_are_passed_on_and_link_local_ones_are_not() {
        let connected = |to: IpAddr, prefix| {
            let mut message = all_routes_v6();
            message.header.kind = RouteType::Unicast;
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            message.header.protocol = RouteProtocol::Kernel;
            message.header.destination_prefix_length = prefix;
            message.attributes = vec![
                RouteAttribute::Destination(to.into()),
                RouteAttribute::Oif(2),
            ];
            route(&message, &[eth0()]).map(|route| route.destination)
        };
        assert_eq!(
            connected("fd00::".parse().unwrap(), 64).as_deref(),
            Some("fd00::/64")
        );
        assert_eq!(connected("fe80::".parse().unwrap(), 64), None);
    }

    #[test]
    fn a_route_by_another_interface_is_left_out() {
        let mut message = all_routes_v6();
        message.header.kind = RouteType::Unicast;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = vec![RouteAttribute::Oif(7)];
        assert!(route(&message, &[eth0()]).is_none());
    }

    #[test]
    fn addresses_of_the_interface_only() {
        let address = |index, ip: IpAddr, prefix_len, scope| {
            let mut message = AddressMessage::default();
            message.header.index = index;
            message.header.prefix_len = prefix_len;
            message.header.scope = scope;
            message.header.family = if ip.is_ipv6() {
                AddressFamily::Inet6
            } else {
                AddressFamily::Inet
            };
            message.attributes = vec![AddressAttribute::Address(ip)];
            message
        };
        let addresses = [
            address(2, [10, 88, 0, 2].into(), 16, AddressScope::Universe),
            address(2, "fd00::2".parse().unwrap(), 64, AddressScope::Universe),
            address(2, "fe80::1".parse().unwrap(), 64, AddressScope::Link),
            address(1, [127, 0, 0, 1].into(), 8, AddressScope::Host),
        ];
        assert_eq!(
            interface(&eth0(), &addresses).addresses,
            ["10.88.0.2/16", "fd00::2/64"]
        );
    }
}
