//! Routes of the main table.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use protocol::agent::{Family, Route};

use super::netlink::{Kind, Netlink, REPLACE};
use super::{Cidr, NetworkError, named, parse_ip};

/// `routes` so that each finds its gateway reachable when it is added: the
/// kernel refuses a gateway that no on-link route leads to.
pub(super) fn in_working_order(routes: &[Route]) -> Vec<&Route> {
    let mut ordered: Vec<_> = routes.iter().collect();
    ordered.sort_by_key(|route| !route.gateway.is_empty());
    ordered
}

/// Adds `route` through the interface of `index`.
pub(super) fn add(netlink: &mut Netlink, index: u32, route: &Route) -> Result<(), NetworkError> {
    let what = if route.destination.is_empty() {
        "default"
    } else {
        &route.destination
    };
    let request = named(format!("add route {what} through {}", route.interface));
    netlink
        .request(Kind::Route, REPLACE, &message(index, route)?)
        .map_err(request)
}

fn message(index: u32, route: &Route) -> Result<RouteMessage, NetworkError> {
    let mut message = RouteMessage::default();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = scope(route);
    message.attributes.push(RouteAttribute::Oif(index));
    let gateway = optional_ip(&route.gateway)?;
    let destination = optional_cidr(&route.destination)?;
    let source = optional_ip(&route.source)?;
    message.header.address_family = family(route, destination.map(|to| to.address), gateway);
    if let Some(to) = destination.filter(|to| to.prefix > 0) {
        message.header.destination_prefix_length = to.prefix;
        message
            .attributes
            .push(RouteAttribute::Destination(to.address.into()));
    }
    if let Some(gateway) = gateway {
        message
            .attributes
            .push(RouteAttribute::Gateway(gateway.into()));
    }
    if let Some(source) = source {
        message
            .attributes
            .push(RouteAttribute::PrefSource(source.into()));
    }
    add_options(&mut message, route);
    Ok(message)
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
    match u8::try_from(route.scope) {
        Ok(0) if route.gateway.is_empty() => RouteScope::Link,
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

fn optional_cidr(text: &str) -> Result<Option<Cidr>, NetworkError> {
    if text.is_empty() {
        Ok(None)
    } else {
        Cidr::parse(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, gateway: &str) -> Route {
        Route {
            destination: destination.into(),
            gateway: gateway.into(),
            ..Default::default()
        }
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
            let message = message(2, &route(text, "")).unwrap();
            assert_eq!(message.header.destination_prefix_length, 0);
            assert_eq!(message.attributes, [RouteAttribute::Oif(2)]);
        }
    }

    #[test]
    fn a_route_without_a_gateway_is_on_the_link() {
        let scope = |to, through| message(2, &route(to, through)).unwrap().header.scope;
        assert_eq!(scope("10.0.0.0/24", ""), RouteScope::Link);
        assert_eq!(scope("", "10.0.0.1"), RouteScope::Universe);
    }

    #[test]
    fn the_family_follows_the_addresses_unless_told() {
        let mut wanted = route("", "fe80::1");
        assert_eq!(
            message(2, &wanted).unwrap().header.address_family,
            AddressFamily::Inet6
        );
        wanted = route("", "");
        wanted.family = Family::FAMILY_IPV6.into();
        assert_eq!(
            message(2, &wanted).unwrap().header.address_family,
            AddressFamily::Inet6
        );
        assert_eq!(
            message(2, &route("10.0.0.0/8", ""))
                .unwrap()
                .header
                .address_family,
            AddressFamily::Inet
        );
    }
}
