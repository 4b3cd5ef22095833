//! Routes, of the main table and others.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType,
};
use protocol::agent::{Family, NextHop, Route, RouteKind};

use super::interface::Links;
use super::netlink::{APPEND, Kind, Netlink};
use super::{NetworkError, named, optional_cidr, parse_ip};

/// `routes` so that each finds its gateway reachable when it is added: the
/// kernel refuses a gateway that no on-link route leads to.
pub(super) fn in_working_order(routes: &[Route]) -> Vec<&Route> {
    let mut ordered: Vec<_> = routes.iter().collect();
    ordered.sort_by_key(|route| !route.gateway.is_empty() || !route.next_hops.is_empty());
    ordered
}

/// Adds `route`, behind those to the same destination: that is their order on
/// the host.
pub(super) fn add(netlink: &mut Netlink, links: &Links, route: &Route) -> Result<(), NetworkError> {
    let message = message(links, route)?;
    match netlink.request(Kind::Route, APPEND, &message) {
        Err(error) if error.already() => Ok(()),
        other => other.map_err(named(format!("add route {}", described(route)))),
    }
}

/// Removes `route`.
pub(super) fn remove(
    netlink: &mut Netlink,
    links: &Links,
    route: &Route,
) -> Result<(), NetworkError> {
    netlink
        .remove(Kind::Route, &message(links, route)?)
        .map_err(named(format!("remove route {}", described(route))))
}

fn described(route: &Route) -> String {
    let what = match route.destination.as_str() {
        "" => "default",
        destination => destination,
    };
    format!("{what} {}", through(route))
}

fn through(route: &Route) -> String {
    match route.interface.as_str() {
        "" => "through no or several interfaces".to_owned(),
        interface => format!("through {interface}"),
    }
}

fn message(links: &Links, route: &Route) -> Result<RouteMessage, NetworkError> {
    let mut message = RouteMessage::default();
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = kind(route);
    message.header.scope = scope(route);
    table(&mut message, route.table);
    let gateway = optional_ip(&route.gateway)?;
    let destination = optional_cidr(&route.destination)?;
    let source = optional_ip(&route.source)?;
    message.header.address_family = family(route, destination.map(|to| to.address), gateway);
    ways(&mut message, links, route, gateway)?;
    if let Some(to) = destination.filter(|to| to.prefix > 0) {
        message.header.destination_prefix_length = to.prefix;
        message
            .attributes
            .push(RouteAttribute::Destination(to.address.into()));
    }
    if let Some(source) = source {
        message
            .attributes
            .push(RouteAttribute::PrefSource(source.into()));
    }
    add_options(&mut message, route);
    Ok(message)
}

fn kind(route: &Route) -> RouteType {
    match route.kind.enum_value_or_default() {
        RouteKind::ROUTE_KIND_UNICAST => RouteType::Unicast,
        RouteKind::ROUTE_KIND_BLACKHOLE => RouteType::BlackHole,
        RouteKind::ROUTE_KIND_UNREACHABLE => RouteType::Unreachable,
        RouteKind::ROUTE_KIND_PROHIBIT => RouteType::Prohibit,
        RouteKind::ROUTE_KIND_THROW => RouteType::Throw,
    }
}

/// The number in the header has eight bits.
fn table(message: &mut RouteMessage, table: u32) {
    message.header.table = match u8::try_from(table) {
        Ok(0) => RouteHeader::RT_TABLE_MAIN,
        Ok(short) => short,
        Err(_) => {
            message.attributes.push(RouteAttribute::Table(table));
            RouteHeader::RT_TABLE_UNSPEC
        }
    };
}

/// Where packets leave; nowhere, if no interface is named.
fn ways(
    message: &mut RouteMessage,
    links: &Links,
    route: &Route,
    gateway: Option<IpAddr>,
) -> Result<(), NetworkError> {
    if !route.next_hops.is_empty() {
        let hops: Result<_, _> = route
            .next_hops
            .iter()
            .map(|hop| next_hop(links, hop))
            .collect();
        message.attributes.push(RouteAttribute::MultiPath(hops?));
    } else if message.header.kind == RouteType::Unicast {
        let index = links.index(&route.interface)?;
        message.attributes.push(RouteAttribute::Oif(index));
    }
    if let Some(gateway) = gateway {
        message
            .attributes
            .push(RouteAttribute::Gateway(gateway.into()));
    }
    Ok(())
}

fn next_hop(links: &Links, wanted: &NextHop) -> Result<RouteNextHop, NetworkError> {
    let mut hop = RouteNextHop::default();
    hop.interface_index = links.index(&wanted.interface)?;
    // The kernel counts from 0.
    hop.hops = u8::try_from(wanted.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    if wanted.onlink {
        hop.flags |= RouteNextHopFlags::Onlink;
    }
    if let Some(gateway) = optional_ip(&wanted.gateway)? {
        hop.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    Ok(hop)
}

fn add_options(message: &mut RouteMessage, route: &Route) {
    if route.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    if route.priority > 0 {
        message
            .attributes
            .push(RouteAttribute::Priority(route.priority));
    }
    if route.mtu > 0 {
        message
            .attributes
            .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(route.mtu)]));
    }
}

/// Without a gateway the destination is on the link, unless told otherwise: no
/// gateway would be found through a route of a wider scope.
fn scope(route: &Route) -> RouteScope {
    let direct = route.gateway.is_empty() && !route.interface.is_empty();
    match u8::try_from(route.scope) {
        Ok(0) if direct => RouteScope::Link,
        Ok(scope) => RouteScope::from(scope),
        Err(_) => RouteScope::Universe,
    }
}

/// What the request says, else what its addresses are.
fn family(route: &Route, destination: Option<IpAddr>, gateway: Option<IpAddr>) -> AddressFamily {
    match route.family.enum_value_or_default() {
        Family::FAMILY_IPV4 => AddressFamily::Inet,
        Family::FAMILY_IPV6 => AddressFamily::Inet6,
        Family::FAMILY_UNSPECIFIED => match destination.or(gateway) {
            Some(IpAddr::V6(_)) => AddressFamily::Inet6,
            _ => AddressFamily::Inet,
        },
    }
}

fn optional_ip(text: &str) -> Result<Option<IpAddr>, NetworkError> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse_ip(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, gateway: &str) -> Route {
        Route {
            destination: destination.into(),
            gateway: gateway.into(),
            interface: "eth0".into(),
            ..Default::default()
        }
    }

    fn message(route: &Route) -> Result<RouteMessage, NetworkError> {
        super::message(&Links::of(&[("eth0", 2), ("net1", 3)]), route)
    }

    #[test]
    fn routes_on_the_link_come_before_those_through_a_gateway() {
        let routes = [route("", "169.254.1.1"), route("169.254.1.1/32", "")];
        let order: Vec<_> = in_working_order(&routes)
            .iter()
            .map(|route| route.destination.as_str())
            .collect();
        assert_eq!(order, ["169.254.1.1/32", ""]);
    }

    #[test]
    fn a_default_route_has_no_destination() {
        for text in ["", "0.0.0.0/0", "::/0"] {
            let message = message(&route(text, "")).unwrap();
            assert_eq!(message.header.destination_prefix_length, 0);
            assert_eq!(message.attributes, [RouteAttribute::Oif(2)]);
        }
    }

    #[test]
    fn a_route_without_a_gateway_is_on_the_link() {
        let scope = |to, through| message(&route(to, through)).unwrap().header.scope;
        assert_eq!(scope("10.0.0.0/24", ""), RouteScope::Link);
        assert_eq!(scope("", "10.0.0.1"), RouteScope::Universe);
    }

    #[test]
    fn the_family_follows_the_addresses_unless_told() {
        let mut wanted = route("", "fe80::1");
        assert_eq!(
            message(&wanted).unwrap().header.address_family,
            AddressFamily::Inet6
        );
        wanted = route("", "");
        wanted.family = Family::FAMILY_IPV6.into();
        assert_eq!(
            message(&wanted).unwrap().header.address_family,
            AddressFamily::Inet6
        );
        assert_eq!(
            message(&route("10.0.0.0/8", ""))
                .unwrap()
                .header
                .address_family,
            AddressFamily::Inet
        );
    }

    #[test]
    fn a_route_without_packets_has_no_interface() {
        let mut wanted = route("10.9.0.0/16", "");
        wanted.interface.clear();
        wanted.kind = RouteKind::ROUTE_KIND_BLACKHOLE.into();
        wanted.table = 1000;
        let message = message(&wanted).unwrap();
        assert_eq!(message.header.kind, RouteType::BlackHole);
        assert_eq!(message.header.scope, RouteScope::Universe);
        let to = std::net::IpAddr::from([10, 9, 0, 0]);
        let expected = [
            RouteAttribute::Table(1000),
            RouteAttribute::Destination(to.into()),
        ];
        assert_eq!(message.attributes, expected);
    }

    #[test]
    fn several_ways_have_their_own_interfaces() {
        let hop = |interface: &str, weight| NextHop {
            interface: interface.into(),
            gateway: "10.0.0.1".into(),
            weight,
            ..Default::default()
        };
        let wanted = Route {
            next_hops: vec![hop("eth0", 1), hop("net1", 3)],
            ..Default::default()
        };
        let message = message(&wanted).unwrap();
        let [RouteAttribute::MultiPath(hops)] = &message.attributes[..] else {
            panic!("{:?}", message.attributes);
        };
        let ways: Vec<_> = hops.iter().map(|h| (h.interface_index, h.hops)).collect();
        assert_eq!(ways, [(2, 0), (3, 2)]);
    }
}
