//! The host reaches what listens on 127.0.0.1 and `::1`: its port-forwards come
//! through the pod's first interface, and the replies go back there. The host
//! sees to it that nobody else's packets come so.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror,
    TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use protocol::agent::{Loopback, Neighbour};

use super::interface::LOOPBACK;
use super::netlink::{Kind, Netlink, REPLACE};
use super::{NetworkError, named, neighbour, parse_ip};

/// The ingress qdisc, `ffff:` (tc(8)).
const INGRESS: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};
/// The table of own addresses, which is asked first: `RT_TABLE_LOCAL`.
const LOCAL: u8 = 255;
/// `ETH_P_IPV6` in network byte order.
const IPV6: u16 = 0x86dd_u16.to_be();
/// Offsets in the header (RFC 8200, 3).
const SOURCE: i32 = 8;
const DESTINATION: i32 = 24;

/// Lets the host's connections in through the interface of `index`.
pub(super) fn open(
    netlink: &mut Netlink,
    index: u32,
    wanted: &Loopback,
) -> Result<(), NetworkError> {
    let setting = Path::new("/proc/sys/net/ipv4/conf")
        .join(&wanted.interface)
        .join("route_localnet");
    std::fs::write(&setting, "1").map_err(|error| NetworkError::Set(setting, error))?;
    reply_to(netlink, index, wanted, &wanted.host_ipv4)?;
    if !wanted.host_ipv6.is_empty() {
        reply_to(netlink, index, wanted, &wanted.host_ipv6)?;
        deliver(netlink, index, parse_ip(&wanted.host_ipv6)?)?;
    }
    Ok(())
}

/// Before the table of the guest's own addresses is asked: all of 127.0.0.0/8
/// is in it.
fn reply_to(
    netlink: &mut Netlink,
    index: u32,
    wanted: &Loopback,
    host: &str,
) -> Result<(), NetworkError> {
    let neighbour = Neighbour {
        address: host.to_owned(),
        hardware_address: wanted.host_hardware_address.clone(),
        ..Default::default()
    };
    neighbour::add(netlink, index, &neighbour)?;
    netlink
        .request(Kind::Route, REPLACE, &route(index, parse_ip(host)?))
        .map_err(named(format!("add a route to the host at {host}")))
}

fn route(index: u32, host: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    (
        message.header.address_family,
        message.header.destination_prefix_length,
    ) = match host {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.table = LOCAL;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = RouteScope::Link;
    message.attributes = vec![
        RouteAttribute::Destination(host.into()),
        RouteAttribute::Oif(index),
    ];
    message
}

/// `::1` is taken from the loopback interface alone: what the host sends there
/// arrives there.
fn deliver(netlink: &mut Netlink, index: u32, host: IpAddr) -> Result<(), NetworkError> {
    let IpAddr::V6(host) = host else {
        return Err(NetworkError::Invalid {
            what: "IPv6 address",
            text: host.to_string(),
        });
    };
    netlink
        .request(Kind::Qdisc, REPLACE, &ingress(index))
        .map_err(named("add an ingress qdisc"))?;
    netlink
        .request(Kind::Filter, REPLACE, &filter(index, host))
        .map_err(named("redirect what is for ::1"))
}

fn ingress(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = INGRESS;
    message.header.parent = TcHandle::INGRESS;
    message.attributes = vec![TcAttribute::Kind("ingress".to_owned())];
    message
}

fn filter(index: u32, host: Ipv6Addr) -> TcMessage {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    // TCP, with no extension header before it.
    selector.keys = vec![key(4, 0x0000_0600, 0x0000_ff00)];
    selector.keys.extend(address(SOURCE, host));
    selector
        .keys
        .extend(address(DESTINATION, Ipv6Addr::LOCALHOST));
    selector.nkeys = u8::try_from(selector.keys.len()).unwrap_or(u8::MAX);
    let options = [
        TcFilterU32Option::Selector(selector),
        TcFilterU32Option::Action(vec![arrive_at(LOOPBACK)]),
    ];
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = INGRESS;
    // Priority and protocol.
    message.header.info = (1 << 16) | u32::from(IPV6);
    message.attributes = vec![
        TcAttribute::Kind(TcFilterU32::KIND.to_owned()),
        TcAttribute::Options(options.map(TcOption::U32).to_vec()),
    ];
    message
}

fn address(offset: i32, address: Ipv6Addr) -> Vec<TcU32Key> {
    let octets = address.octets();
    let words = octets
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes(word.try_into().unwrap_or_default()));
    (offset..)
        .step_by(4)
        .zip(words)
        .map(|(at, word)| key(at, word, u32::MAX))
        .collect()
}

fn key(offset: i32, value: u32, mask: u32) -> TcU32Key {
    let mut key = TcU32Key::default();
    key.off = offset;
    key.val = value;
    key.mask = mask;
    key
}

/// tc-mirred(8): `mirred ingress redirect`.
fn arrive_at(index: u32) -> TcAction {
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::IngressRedir;
    mirror.ifindex = index;
    let parameters = TcActionMirrorOption::Parms(mirror);
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(parameters)]),
    ];
    action
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_names_both_addresses_and_tcp() {
        let host = "fd00::2".parse().unwrap();
        let keys: Vec<_> = address(SOURCE, host)
            .into_iter()
            .chain(address(DESTINATION, Ipv6Addr::LOCALHOST))
            .map(|key| (key.off, key.val))
            .collect();
        let expected = [
            (8, 0xfd00_0000),
            (12, 0),
            (16, 0),
            (20, 2),
            (24, 0),
            (28, 0),
            (32, 0),
            (36, 1),
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_reply_is_routed_before_the_guests_own_addresses() {
        let message = route(2, "127.107.97.1".parse().unwrap());
        assert_eq!(message.header.table, LOCAL);
        assert_eq!(message.header.kind, RouteType::Unicast);
        assert_eq!(message.header.destination_prefix_length, 32);
    }
}
