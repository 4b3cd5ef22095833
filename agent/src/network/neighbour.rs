//! Permanent neighbour entries.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use protocol::agent::Neighbour;

use super::netlink::{Kind, Netlink, REPLACE};
use super::{NetworkError, named, parse_hardware_address, parse_ip};

/// Adds `neighbour` to the interface of `index`.
pub(super) fn add(
    netlink: &mut Netlink,
    index: u32,
    neighbour: &Neighbour,
) -> Result<(), NetworkError> {
    let message = message(index, neighbour)?;
    let request = named(format!("add neighbour {}", neighbour.address));
    netlink
        .request(Kind::Neighbour, REPLACE, &message)
        .map_err(request)
}

/// Removes the entry for `neighbour`.
pub(super) fn remove(
    netlink: &mut Netlink,
    index: u32,
    neighbour: &Neighbour,
) -> Result<(), NetworkError> {
    netlink
        .remove(Kind::Neighbour, &message(index, neighbour)?)
        .map_err(named(format!("remove neighbour {}", neighbour.address)))
}

fn message(index: u32, neighbour: &Neighbour) -> Result<NeighbourMessage, NetworkError> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    let (family, address) = match parse_ip(&neighbour.address)? {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.attributes = vec![
        NeighbourAttribute::Destination(address),
        NeighbourAttribute::LinkLayerAddress(parse_hardware_address(&neighbour.hardware_address)?),
    ];
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_permanent_and_complete() {
        let neighbour = Neighbour {
            address: "169.254.1.1".into(),
            hardware_address: "ee:ee:ee:ee:ee:ee".into(),
            ..Default::default()
        };
        let message = message(3, &neighbour).unwrap();
        assert_eq!(message.header.state, NeighbourState::Permanent);
        assert_eq!(
            message.attributes[1],
            NeighbourAttribute::LinkLayerAddress(vec![0xee; 6])
        );
    }
}
