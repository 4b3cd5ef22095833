//! Netlink's words about interfaces: which of them the guest can have. Pure.

use rtnetlink::packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoVlan, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, VlanProtocol,
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
    /// It was told to take what is for others too.
    pub(super) promiscuous: bool,
    /// It was told to take what is for groups that nobody joined.
    pub(super) all_multicast: bool,
    /// A VLAN's: whose packets it takes.
    pub(super) untags: Option<Tagged>,
}

/// The tagged packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    /// Of the interface.
    pub(super) index: u32,
    /// The tags are those of IEEE 802.1ad, and not of 802.1Q.
    pub(super) service: bool,
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
    /// What arrives there cannot be led to the guest. Without an address it is as
    /// good as unused.
    Impossible(Impossible),
}

/// An interface that cannot be a guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impossible {
    pub(super) index: u32,
    pub(super) name: String,
    /// As `ip -d link` calls it.
    pub(super) kind: String,
    /// Why, for people.
    pub(super) reason: &'static str,
}

const NO_FRAMES: &str = "its packets are no Ethernet frames";
const NETFILTER: &str = "what is for it comes by netfilter's hooks and not through the interface";
const SHARES: &str = "it shares an interface that the pod has itself";

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
    link.promiscuous = flags.contains(LinkFlags::Promisc);
    link.all_multicast = flags.contains(LinkFlags::Allmulti);
    if kind(message) != Some(&InfoKind::Vrf) && is_port(message) {
        return Seen::Unused;
    }
    match obstacle(message) {
        Some(reason) => Seen::Impossible(impossible(link, message, reason)),
        None => {
            link.untags = tagged(message);
            Seen::Mirrored(link)
        }
    }
}

/// Why an interface of this kind cannot be the guest's.
fn obstacle(message: &LinkMessage) -> Option<&'static str> {
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    match kind(message) {
        Some(InfoKind::Vrf) => Some(NO_FRAMES),
        _ if !ethernet => Some(NO_FRAMES),
        Some(InfoKind::IpVlan) if is_l3s(message) => Some(NETFILTER),
        Some(InfoKind::IpVlan | InfoKind::MacVlan) => beside(message).map(|_| SHARES),
        _ => None,
    }
}

fn impossible(link: Link, message: &LinkMessage, reason: &'static str) -> Impossible {
    let kind = kind(message).map_or_else(|| "no Ethernet".to_owned(), ToString::to_string);
    Impossible {
        index: link.index,
        name: link.name,
        kind: if reason == NETFILTER {
            format!("{kind} l3s")
        } else {
            kind
        },
        reason,
    }
}

fn infos(message: &LinkMessage) -> &[LinkInfo] {
    let infos = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::LinkInfo(infos) => Some(infos.as_slice()),
        _ => None,
    });
    infos.unwrap_or_default()
}

fn kind(message: &LinkMessage) -> Option<&InfoKind> {
    infos(message).iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

fn data(message: &LinkMessage) -> Option<&InfoData> {
    infos(message).iter().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    })
}

/// Its packets take the way of netfilter's hooks, and meet no filter of the
/// interface's.
fn is_l3s(message: &LinkMessage) -> bool {
    let Some(InfoData::IpVlan(properties)) = data(message) else {
        return false;
    };
    properties.contains(&InfoIpVlan::Mode(IpVlanMode::L3S))
}

/// What a VLAN takes of the interface beside it.
fn tagged(message: &LinkMessage) -> Option<Tagged> {
    let service = InfoVlan::Protocol(VlanProtocol::Ieee8021Ad);
    match data(message) {
        Some(InfoData::Vlan(properties)) => Some(Tagged {
            index: beside(message)?,
            service: properties.contains(&service),
        }),
        _ => None,
    }
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
mod tests;
