//! Netlink's words about interfaces: which of them the guest can have. Pure.

use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use vmm_api::NetConfig;

/// An interface worth mirroring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) mtu: u32,
    pub(super) no_arp: bool,
    /// A VLAN's: the interface beside it whose tagged packets are its own.
    pub(super) untags: Option<u32>,
}

impl Link {
    pub(super) fn net_config(&self) -> NetConfig {
        NetConfig {
            mac: self.mac.clone(),
            mtu: self.mtu,
            queue_pairs: 1,
            // The driver's to say.
            vhost: false,
        }
    }
}

/// What an interface is to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The guest has it too.
    Mirrored(Link),
    /// Nobody talks through it: it is down, a port of another one, or the
    /// loopback, which the guest has by itself.
    Unused,
    /// Its packets have no Ethernet header, or it has none. Without an address
    /// it is as good as unused.
    Impossible(Impossible),
}

/// An interface that cannot be a guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impossible {
    pub(super) index: u32,
    pub(super) name: String,
    /// As `ip -d link` calls it.
    pub(super) kind: String,
}

pub(super) fn see(message: &LinkMessage) -> Seen {
    let flags = message.header.flags;
    if !flags.contains(LinkFlags::Up) || flags.contains(LinkFlags::Loopback) {
        return Seen::Unused;
    }
    let mut link = Link {
        index: message.header.index,
        mtu: 1500,
        no_arp: flags.contains(LinkFlags::Noarp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.mac = mac(address),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    match kind(message) {
        Some(InfoKind::Vrf) => Seen::Impossible(impossible(link, "vrf")),
        _ if is_port(message) => Seen::Unused,
        Some(InfoKind::Vlan) if ethernet => {
            link.untags = beside(message);
            Seen::Mirrored(link)
        }
        _ if ethernet => Seen::Mirrored(link),
        Some(kind) => Seen::Impossible(impossible(link, &kind.to_string())),
        None => Seen::Impossible(impossible(link, "no Ethernet")),
    }
}

fn impossible(link: Link, kind: &str) -> Impossible {
    Impossible {
        index: link.index,
        name: link.name,
        kind: kind.to_owned(),
    }
}

fn kind(message: &LinkMessage) -> Option<&InfoKind> {
    let infos = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos?.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

/// It is a port of a bridge or a bond: what it receives is theirs.
fn is_port(message: &LinkMessage) -> bool {
    let of = |a: &LinkAttribute| matches!(a, LinkAttribute::Controller(index) if *index > 0);
    message.attributes.iter().any(of)
}

/// The interface that it is on top of, unless that is in another namespace.
fn beside(message: &LinkMessage) -> Option<u32> {
    let elsewhere = |a: &LinkAttribute| matches!(a, LinkAttribute::LinkNetNsId(_));
    let below = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    });
    below.filter(|_| !message.attributes.iter().any(elsewhere))
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

pub(super) fn name_of(index: u32, links: &[Link]) -> String {
    links
        .iter()
        .find(|link| link.index == index)
        .map(|link| link.name.clone())
        .unwrap_or_default()
}

/// What a plugin makes for a pod, for tests.
#[cfg(test)]
pub(super) fn eth0() -> Link {
    Link {
        index: 2,
        name: "eth0".into(),
        mac: "02:00:00:00:00:01".into(),
        mtu: 1450,
        ..Link::default()
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(tunnel, Seen::Impossible(impossible(eth0(), "wireguard")));
        let vrf = seen(up, LinkLayerType::Ether, vec![of_kind(InfoKind::Vrf)]);
        assert_eq!(vrf, Seen::Impossible(impossible(eth0(), "vrf")));
    }

    #[test]
    fn a_port_of_a_bridge_is_the_bridges() {
        let port = vec![LinkAttribute::Controller(7), of_kind(InfoKind::Veth)];
        let port = message(LinkFlags::Up, LinkLayerType::Ether, port);
        assert_eq!(see(&port), Seen::Unused);
    }

    #[test]
    fn a_vlan_takes_from_an_interface_beside_it() {
        let more = vec![LinkAttribute::Link(3), of_kind(InfoKind::Vlan)];
        let mut vlan = message(LinkFlags::Up, LinkLayerType::Ether, more);
        let beside = Link {
            untags: Some(3),
            ..eth0()
        };
        assert_eq!(see(&vlan), Seen::Mirrored(beside));
        // The host's own, as CNI's vlan plugin has it.
        vlan.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(see(&vlan), Seen::Mirrored(eth0()));
    }
}
