use super::*;

fn message(flags: LinkFlags, layer: LinkLayerType, more: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = 2;
    message.header.flags = flags;
    message.header.link_layer_type = layer;
    message.attributes = vec![
        LinkAttribute::IfName("eth0".into()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        LinkAttribute::Mtu(1450),
    ];
    message.attributes.extend(more);
    message
}

fn of_kind(kind: InfoKind) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])
}

fn with(kind: InfoKind, data: InfoData) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)])
}

fn refused(kind: &str, reason: &'static str) -> Seen {
    Seen::Impossible(Impossible {
        index: 2,
        name: "eth0".into(),
        kind: kind.into(),
        reason,
    })
}

#[test]
fn only_ethernet_that_is_up_is_mirrored() {
    let up = LinkFlags::Up;
    let seen = |flags, layer, more| see(&message(flags, layer, more));
    assert_eq!(
        seen(up, LinkLayerType::Ether, vec![]),
        Seen::Mirrored(eth0())
    );
    let down = LinkFlags::empty();
    assert_eq!(seen(down, LinkLayerType::Ether, vec![]), Seen::Unused);
    let tunnel = seen(up, LinkLayerType::None, vec![of_kind(InfoKind::Wireguard)]);
    assert_eq!(tunnel, refused("wireguard", NO_FRAMES));
    let vrf = seen(up, LinkLayerType::Ether, vec![of_kind(InfoKind::Vrf)]);
    assert_eq!(vrf, refused("vrf", NO_FRAMES));
}

#[test]
fn a_port_of_a_bridge_is_the_bridges() {
    let port = vec![LinkAttribute::Controller(7), of_kind(InfoKind::Veth)];
    let port = message(LinkFlags::Up, LinkLayerType::Ether, port);
    assert_eq!(see(&port), Seen::Unused);
}

#[test]
fn a_vlan_takes_from_an_interface_beside_it() {
    let seen = |protocol, elsewhere: bool| {
        let properties = vec![InfoVlan::Id(7), InfoVlan::Protocol(protocol)];
        let mut more = vec![
            LinkAttribute::Link(3),
            with(InfoKind::Vlan, InfoData::Vlan(properties)),
        ];
        if elsewhere {
            more.push(LinkAttribute::LinkNetNsId(0));
        }
        see(&message(LinkFlags::Up, LinkLayerType::Ether, more))
    };
    let beside = |service| {
        Seen::Mirrored(Link {
            untags: Some(Tagged { index: 3, service }),
            ..eth0()
        })
    };
    assert_eq!(seen(VlanProtocol::Ieee8021Q, false), beside(false));
    assert_eq!(seen(VlanProtocol::Ieee8021Ad, false), beside(true));
    // The host's own, as CNI's vlan plugin has it.
    let mirrored = Seen::Mirrored(eth0());
    assert_eq!(seen(VlanProtocol::Ieee8021Q, true), mirrored);
}

#[test]
fn a_part_of_the_hosts_card_is_mirrored_and_one_of_the_pods_own_is_not() {
    let seen = |kind: InfoKind, more: Vec<LinkAttribute>| {
        let more = [vec![LinkAttribute::Link(3), of_kind(kind)], more].concat();
        see(&message(LinkFlags::Up, LinkLayerType::Ether, more))
    };
    let elsewhere = || vec![LinkAttribute::LinkNetNsId(0)];
    let mirrored = Seen::Mirrored(eth0());
    assert_eq!(seen(InfoKind::MacVlan, elsewhere()), mirrored);
    assert_eq!(seen(InfoKind::IpVlan, elsewhere()), mirrored);
    assert_eq!(seen(InfoKind::MacVlan, vec![]), refused("macvlan", SHARES));
    assert_eq!(seen(InfoKind::IpVlan, vec![]), refused("ipvlan", SHARES));
}

#[test]
fn what_comes_past_the_interface_is_refused() {
    let seen = |mode| {
        let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]);
        let more = vec![
            LinkAttribute::Link(3),
            LinkAttribute::LinkNetNsId(0),
            with(InfoKind::IpVlan, data),
        ];
        see(&message(LinkFlags::Up, LinkLayerType::Ether, more))
    };
    assert_eq!(seen(IpVlanMode::L3), Seen::Mirrored(eth0()));
    assert_eq!(seen(IpVlanMode::L3S), refused("ipvlan l3s", NETFILTER));
}

#[test]
fn what_an_interface_takes_is_told() {
    let flags = LinkFlags::Up | LinkFlags::Promisc | LinkFlags::Allmulti;
    let greedy = Link {
        promiscuous: true,
        all_multicast: true,
        ..eth0()
    };
    let seen = see(&message(flags, LinkLayerType::Ether, vec![]));
    assert_eq!(seen, Seen::Mirrored(greedy));
}
