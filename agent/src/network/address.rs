//! Addresses of interfaces.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

use super::netlink::{Kind, Netlink, REPLACE};
use super::{Cidr, NetworkError, named};

/// Adds `cidr` to the interface of `index`.
pub(super) fn add(netlink: &mut Netlink, index: u32, cidr: &str) -> Result<(), NetworkError> {
    let message = message(index, Cidr::parse(cidr)?);
    netlink
        .request(Kind::Address, REPLACE, &message)
        .map_err(named(format!("add address {cidr}")))
}

/// Takes `cidr` from the interface of `index`.
pub(super) fn remove(netlink: &mut Netlink, index: u32, cidr: &str) -> Result<(), NetworkError> {
    let message = message(index, Cidr::parse(cidr)?);
    netlink
        .remove(Kind::Address, &message)
        .map_err(named(format!("remove address {cidr}")))
}

fn message(index: u32, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = cidr.prefix;
    message.header.family = match cidr.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    // Nobody needs to be asked whether the address is free: it is the pod's.
    let mut flags = AddressFlags::Nodad;
    if !is_link_local(cidr) {
        // The request lists every other route, the connected ones too: the kernel
        // must not add those that a plugin had taken away.
        flags |= AddressFlags::Noprefixroute;
    }
    message.attributes = vec![
        AddressAttribute::Address(cidr.address),
        AddressAttribute::Local(cidr.address),
        AddressAttribute::Flags(flags),
    ];
    if let Some(broadcast) = broadcast(cidr) {
        message
            .attributes
            .push(AddressAttribute::Broadcast(broadcast));
    }
    message
}

fn is_link_local(cidr: Cidr) -> bool {
    matches!(cidr.address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The last address of an IPv4 network of more than two addresses.
fn broadcast(cidr: Cidr) -> Option<std::net::Ipv4Addr> {
    match cidr.address {
        IpAddr::V4(address) if cidr.prefix < 31 => {
            Some((address.to_bits() | (u32::MAX >> cidr.prefix)).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_of_link_local_addresses_alone_is_the_kernels_to_make() {
        let flags = |text| {
            let message = message(2, Cidr::parse(text).unwrap());
            let flags = message.attributes.into_iter().find_map(|a| match a {
                AddressAttribute::Flags(flags) => Some(flags),
                _ => None,
            });
            flags.unwrap().contains(AddressFlags::Noprefixroute)
        };
        assert!(flags("10.1.2.3/24") && flags("fd00::1/64"));
        assert!(!flags("fe80::1/64"));
    }

    #[test]
    fn the_broadcast_address_is_the_last_of_the_network() {
        let broadcast = |text| broadcast(Cidr::parse(text).unwrap()).map(|ip| ip.to_string());
        assert_eq!(broadcast("10.1.2.3/24").as_deref(), Some("10.1.2.255"));
        assert_eq!(broadcast("10.1.2.3/32"), None);
        assert_eq!(broadcast("fd00::1/64"), None);
    }
}
