//! Netlink's words about routes, turned into the agent's. Pure.

use std::net::IpAddr;

use protocol::agent::{Family, NextHop, Route, RouteKind};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteType,
};

use super::link::{Link, name_of};

/// The table of own addresses, which is asked first: `RT_TABLE_LOCAL`. Each kernel
/// fills its own by itself.
pub(super) const LOCAL: u32 = 255;

pub(super) fn all_v4() -> RouteMessage {
    all(AddressFamily::Inet)
}

pub(super) fn all_v6() -> RouteMessage {
    all(AddressFamily::Inet6)
}

fn all(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message
}

/// `None` for routes that leave by no mirrored interface, and for what the guest
/// learns or makes by itself (router advertisements, link-local prefixes, its own
/// addresses). Connected routes are passed on: a plugin may have taken them away,
/// so the guest must not make them from its addresses.
pub(super) fn route(message: &RouteMessage, links: &[Link]) -> Option<Route> {
    let header = &message.header;
    let kind = kind(header.kind)?;
    let table = table(message);
    let main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    let by_itself = header.protocol == RouteProtocol::Ra || main && is_the_kernels(message, kind);
    if table == LOCAL || by_itself {
        return None;
    }
    let mut route = Route {
        family: family(header.address_family)?.into(),
        scope: u8::from(header.scope).into(),
        onlink: header.flags.contains(RouteFlags::Onlink),
        kind: kind.into(),
        table: if main { 0 } else { table },
        ..Default::default()
    };
    let prefix = header.destination_prefix_length;
    for attribute in &message.attributes {
        apply(&mut route, attribute, prefix, links);
    }
    if kind != RouteKind::ROUTE_KIND_UNICAST {
        // IPv6 says `lo` here; no packet goes there.
        route.interface.clear();
        return Some(route);
    }
    let leaves = !route.interface.is_empty() || !route.next_hops.is_empty();
    leaves.then_some(route)
}

fn kind(kind: RouteType) -> Option<RouteKind> {
    match kind {
        RouteType::Unicast => Some(RouteKind::ROUTE_KIND_UNICAST),
        RouteType::BlackHole => Some(RouteKind::ROUTE_KIND_BLACKHOLE),
        RouteType::Unreachable => Some(RouteKind::ROUTE_KIND_UNREACHABLE),
        RouteType::Prohibit => Some(RouteKind::ROUTE_KIND_PROHIBIT),
        RouteType::Throw => Some(RouteKind::ROUTE_KIND_THROW),
        _ => None,
    }
}

/// The number in the header has eight bits.
fn table(message: &RouteMessage) -> u32 {
    let long = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
    long.unwrap_or_else(|| message.header.table.into())
}

/// Made in the main table by any kernel for an interface that is up. Elsewhere it
/// is a plugin's copy.
fn is_the_kernels(message: &RouteMessage, kind: RouteKind) -> bool {
    let to_link_local = message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => ip.is_unicast_link_local(),
        _ => false,
    });
    let by_kernel = message.header.protocol == RouteProtocol::Kernel;
    by_kernel && (to_link_local || kind != RouteKind::ROUTE_KIND_UNICAST)
}

fn apply(route: &mut Route, attribute: &RouteAttribute, prefix: u8, links: &[Link]) {
    match attribute {
        RouteAttribute::Destination(to) => {
            route.destination = ip(to)
                .map(|ip| format!("{ip}/{prefix}"))
                .unwrap_or_default();
        }
        RouteAttribute::Gateway(gateway) => route.gateway = text(gateway),
        RouteAttribute::PrefSource(source) => route.source = text(source),
        RouteAttribute::Oif(index) => route.interface = name_of(*index, links),
        RouteAttribute::Priority(priority) => route.priority = *priority,
        RouteAttribute::Metrics(metrics) => {
            for metric in metrics {
                if let RouteMetric::Mtu(mtu) = metric {
                    route.mtu = *mtu;
                }
            }
        }
        RouteAttribute::MultiPath(hops) => {
            route.next_hops = hops.iter().filter_map(|hop| next_hop(hop, links)).collect();
        }
        _ => {}
    }
}

/// `None` for a way through no mirrored interface.
fn next_hop(hop: &RouteNextHop, links: &[Link]) -> Option<NextHop> {
    let mut next = NextHop {
        interface: name_of(hop.interface_index, links),
        // The kernel counts from 0.
        weight: u32::from(hop.hops) + 1,
        onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
        ..Default::default()
    };
    for attribute in &hop.attributes {
        if let RouteAttribute::Gateway(gateway) = attribute {
            next.gateway = text(gateway);
        }
    }
    (!next.interface.is_empty()).then_some(next)
}

fn text(address: &RouteAddress) -> String {
    ip(address).map(|ip| ip.to_string()).unwrap_or_default()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

pub(super) fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::FAMILY_IPV4),
        AddressFamily::Inet6 => Some(Family::FAMILY_IPV6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
