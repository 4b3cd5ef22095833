use super::*;

fn eth0() -> Link {
    Link {
        index: 2,
        name: "eth0".into(),
        ..Default::default()
    }
}

fn message(family: AddressFamily, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = all(family);
    message.header.kind = RouteType::Unicast;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.attributes = attributes;
    message
}

fn to(address: &str) -> RouteAttribute {
    RouteAttribute::Destination(address.parse::<IpAddr>().unwrap().into())
}

#[test]
fn the_default_route_of_a_cni_bridge() {
    let gateway = RouteAttribute::Gateway(RouteAddress::Inet([10, 88, 0, 1].into()));
    let mut message = message(AddressFamily::Inet, vec![gateway, RouteAttribute::Oif(2)]);
    let found = route(&message, &[eth0()]).unwrap();
    assert_eq!(
        (found.destination.as_str(), found.gateway.as_str()),
        ("", "10.88.0.1")
    );
    assert_eq!((found.interface.as_str(), found.table), ("eth0", 0));

    message.header.protocol = RouteProtocol::Ra;
    assert!(route(&message, &[eth0()]).is_none());
}

#[test]
fn connected_routes_are_passed_on_and_link_local_ones_are_not() {
    let connected = |address: &str, prefix, protocol| {
        let attributes = vec![to(address), RouteAttribute::Oif(2)];
        let mut message = message(AddressFamily::Inet6, attributes);
        message.header.protocol = protocol;
        message.header.destination_prefix_length = prefix;
        route(&message, &[eth0()]).map(|route| route.destination)
    };
    let kernel = RouteProtocol::Kernel;
    let found = connected("fd00::", 64, kernel);
    assert_eq!(found.as_deref(), Some("fd00::/64"));
    assert_eq!(connected("fe80::", 64, kernel), None);
    // A plugin's own.
    let found = connected("fe80::1", 128, RouteProtocol::Boot);
    assert_eq!(found.as_deref(), Some("fe80::1/128"));
}

#[test]
fn a_copy_of_a_link_local_route_in_another_table_is_passed_on() {
    let in_table = |table| {
        let attributes = vec![
            to("fe80::"),
            RouteAttribute::Oif(2),
            RouteAttribute::Table(table),
        ];
        let mut message = message(AddressFamily::Inet6, attributes);
        message.header.protocol = RouteProtocol::Kernel;
        route(&message, &[eth0()]).map(|route| route.table)
    };
    assert_eq!(in_table(100), Some(100));
    assert_eq!(in_table(254), None);
}

#[test]
fn a_route_by_another_interface_is_left_out() {
    let message = message(AddressFamily::Inet6, vec![RouteAttribute::Oif(7)]);
    assert!(route(&message, &[eth0()]).is_none());
}

#[test]
fn an_answer_instead_of_a_way_needs_no_interface() {
    let mut message = message(
        AddressFamily::Inet6,
        vec![to("fd01::"), RouteAttribute::Oif(1)],
    );
    message.header.destination_prefix_length = 64;
    message.header.kind = RouteType::Unreachable;
    let found = route(&message, &[eth0()]).unwrap();
    assert_eq!(found.kind, RouteKind::ROUTE_KIND_UNREACHABLE.into());
    assert_eq!(
        (found.destination.as_str(), found.interface.as_str()),
        ("fd01::/64", "")
    );
    // Every IPv6 stack has such by itself.
    message.header.protocol = RouteProtocol::Kernel;
    assert!(route(&message, &[eth0()]).is_none());
}

#[test]
fn a_table_is_named_unless_it_is_the_main_one_or_that_of_own_addresses() {
    let in_table = |table| {
        let attributes = vec![RouteAttribute::Oif(2), RouteAttribute::Table(table)];
        let found = route(&message(AddressFamily::Inet, attributes), &[eth0()]);
        found.map(|route| route.table)
    };
    assert_eq!(in_table(254), Some(0));
    assert_eq!(in_table(1000), Some(1000));
    assert_eq!(in_table(255), None);
}

#[test]
fn each_of_several_ways_is_told() {
    let hop = |index, last| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = index;
        hop.hops = 1;
        let gateway = RouteAddress::Inet([10, 0, 0, last].into());
        hop.attributes = vec![RouteAttribute::Gateway(gateway)];
        hop
    };
    let ways = RouteAttribute::MultiPath(vec![hop(2, 1), hop(7, 2)]);
    let found = route(&message(AddressFamily::Inet, vec![ways]), &[eth0()]).unwrap();
    let [only] = &found.next_hops[..] else {
        panic!("{:?}", found.next_hops);
    };
    assert_eq!(
        (only.gateway.as_str(), only.interface.as_str(), only.weight),
        ("10.0.0.1", "eth0", 2)
    );
}
