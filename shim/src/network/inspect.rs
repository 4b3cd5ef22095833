//! Netlink's words about addresses and neighbours, turned into the agent's. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol::agent::{Interface, Neighbour};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressMessage, AddressProtocol, AddressScope,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::link::{Link, mac, mac_bytes, name_of};
use super::loopback;

/// Index of `lo` in every network namespace.
pub(super) const LO: u32 = 1;

/// `link` with those of `addresses` that are its own. The link-local address
/// that follows from the hardware address the guest makes by itself, and it hears
/// the routers that announce others: in the namespace, which does not, those expire.
pub(super) fn interface(link: &Link, addresses: &[AddressMessage]) -> Interface {
    let by_itself = link_local(&link.mac);
    let own = |message: &&AddressMessage| {
        message.header.index == link.index
            && !is_announced(message)
            && (message.header.scope != AddressScope::Link || local(message) != by_itself)
    };
    Interface {
        name: link.name.clone(),
        hardware_address: link.mac.clone(),
        mtu: link.mtu,
        addresses: addresses.iter().filter(own).filter_map(cidr).collect(),
        no_arp: link.no_arp,
        promiscuous: link.promiscuous,
        all_multicast: link.all_multicast,
        ..Default::default()
    }
}

/// Whether a router announced it (`IFA_PROTO`, told by Linux 5.18 and later).
fn is_announced(message: &AddressMessage) -> bool {
    let announced = AddressAttribute::Protocol(AddressProtocol::RouterAnnouncement);
    message.attributes.contains(&announced)
}

/// The loopback interface with what was added to it, by others than us; `None` if
/// nothing was.
pub(super) fn loopback(addresses: &[AddressMessage]) -> Option<Interface> {
    let added = |message: &&AddressMessage| {
        message.header.index == LO
            && local(message).is_some_and(|ip| !ip.is_loopback() && ip != loopback::HOST_V6)
    };
    let added: Vec<_> = addresses.iter().filter(added).filter_map(cidr).collect();
    (!added.is_empty()).then(|| Interface {
        name: "lo".to_owned(),
        hardware_address: mac(&[0; 6]),
        addresses: added,
        ..Default::default()
    })
}

/// Whether somebody gave the interface of `index` an address.
pub(super) fn is_addressed(index: u32, addresses: &[AddressMessage]) -> bool {
    let given = |message: &AddressMessage| {
        message.header.index == index && message.header.scope != AddressScope::Link
    };
    addresses.iter().any(given)
}

/// The modified EUI-64 of a hardware address (RFC 4291, appendix A) below
/// `fe80::/64`.
fn link_local(mac: &str) -> Option<IpAddr> {
    let [a, b, c, d, e, f] = mac_bytes(mac).try_into().ok()?;
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let address = Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(id));
    Some(address.into())
}

fn cidr(message: &AddressMessage) -> Option<String> {
    Some(format!("{}/{}", local(message)?, message.header.prefix_len))
}

/// On a point-to-point link `Address` is the peer's, `Local` ours.
fn local(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    local.or(any)
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
    use crate::network::link::eth0;
    use rtnetlink::packet_route::AddressFamily;

    fn address(index: u32, ip: &str, prefix_len: u8, scope: AddressScope) -> AddressMessage {
        let ip: IpAddr = ip.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix_len;
        message.header.scope = scope;
        message.header.family = match ip {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.attributes = vec![AddressAttribute::Address(ip)];
        message
    }

    #[test]
    fn addresses_of_the_interface_only() {
        let addresses = [
            address(2, "10.88.0.2", 16, AddressScope::Universe),
            address(2, "fd00::2", 64, AddressScope::Universe),
            address(1, "127.0.0.1", 8, AddressScope::Host),
        ];
        let interface = interface(&eth0(), &addresses);
        assert_eq!(interface.addresses, ["10.88.0.2/16", "fd00::2/64"]);
        assert_eq!(loopback(&addresses), None);
        assert!(is_addressed(2, &addresses) && !is_addressed(7, &addresses));
    }

    #[test]
    fn a_link_local_address_is_told_if_it_is_not_the_one_of_the_hardware_address() {
        let addresses = [
            address(2, "fe80::ff:fe00:1", 64, AddressScope::Link),
            address(2, "fe80::7", 64, AddressScope::Link),
        ];
        assert_eq!(interface(&eth0(), &addresses).addresses, ["fe80::7/64"]);
        assert!(!is_addressed(2, &addresses));
    }

    #[test]
    fn what_a_router_announced_the_guest_hears_by_itself() {
        let mut announced = address(2, "fd00::2", 64, AddressScope::Universe);
        let by_router = AddressAttribute::Protocol(AddressProtocol::RouterAnnouncement);
        announced.attributes.push(by_router);
        assert!(interface(&eth0(), &[announced]).addresses.is_empty());
    }

    #[test]
    fn an_address_added_to_the_loopback_interface() {
        let lo = [
            address(LO, "::1", 128, AddressScope::Host),
            address(LO, "10.9.9.9", 32, AddressScope::Universe),
        ];
        let lo = loopback(&lo).unwrap();
        assert_eq!((lo.name.as_str(), lo.mtu), ("lo", 0));
        assert_eq!(lo.addresses, ["10.9.9.9/32"]);
    }
}
