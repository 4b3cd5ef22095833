//! Filters on what arrives at an interface (tc-u32(8)): words of the network
//! header are compared, and a packet that matches is redirected or passed on to
//! the network stack of its namespace.

use std::net::{Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcFilterU32Option, TcMirror, TcMirrorActionType, TcU32Key, TcU32Selector,
    TcU32SelectorFlags,
};
use rtnetlink::{Error, Handle};

/// Parent of filters on what comes in, with the qdisc `ingress` and with `clsact`:
/// `TC_H_CLSACT` and `TC_H_MIN_INGRESS` of `linux/pkt_sched.h`.
pub(super) const INGRESS: u32 = 0xffff_fff2;

/// Offsets of the addresses in the header (RFC 791, 3.1; RFC 8200, 3).
const V4_SOURCE: i32 = 12;
const V4_DESTINATION: i32 = 16;
const V6_SOURCE: i32 = 8;
const V6_DESTINATION: i32 = 24;

/// What a packet has to be: an Ethernet protocol, and words of its header.
pub(super) struct Packet {
    /// `ETH_P_…`; filters of different protocols need different priorities.
    protocol: u16,
    keys: Vec<TcU32Key>,
}

impl Packet {
    pub(super) fn ipv4() -> Self {
        Self {
            protocol: 0x0800,
            keys: Vec::new(),
        }
    }

    pub(super) fn ipv6() -> Self {
        Self {
            protocol: 0x86dd,
            keys: Vec::new(),
        }
    }

    /// It has a VLAN's tag, whatever is in it: IEEE 802.1ad's (`service`), or
    /// 802.1Q's.
    pub(super) fn tagged(service: bool) -> Self {
        let any = Self {
            protocol: if service { 0x88a8 } else { 0x8100 },
            keys: Vec::new(),
        };
        any.word(0, 0, 0)
    }

    /// The protocol above is TCP, with no extension header before it.
    pub(super) fn tcp(self) -> Self {
        match self.protocol {
            0x0800 => self.word(8, 0x0006_0000, 0x00ff_0000),
            _ => self.word(4, 0x0000_0600, 0x0000_ff00),
        }
    }

    pub(super) fn v4_from(self, address: Ipv4Addr) -> Self {
        self.word(V4_SOURCE, address.to_bits(), u32::MAX)
    }

    pub(super) fn v4_to(self, address: Ipv4Addr, prefix: u32) -> Self {
        let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
        self.word(V4_DESTINATION, address.to_bits() & mask, mask)
    }

    pub(super) fn v6_from(self, address: Ipv6Addr) -> Self {
        self.v6(V6_SOURCE, address)
    }

    pub(super) fn v6_to(self, address: Ipv6Addr) -> Self {
        self.v6(V6_DESTINATION, address)
    }

    fn v6(mut self, mut offset: i32, address: Ipv6Addr) -> Self {
        for word in address.octets().chunks_exact(4) {
            let bytes = word.try_into().unwrap_or_default();
            self = self.word(offset, u32::from_be_bytes(bytes), u32::MAX);
            offset += 4;
        }
        self
    }

    fn word(mut self, offset: i32, value: u32, mask: u32) -> Self {
        let mut key = TcU32Key::default();
        key.off = offset;
        key.val = value;
        key.mask = mask;
        self.keys.push(key);
        self
    }

    fn selector(&self) -> TcFilterU32Option {
        let mut selector = TcU32Selector::default();
        selector.flags = TcU32SelectorFlags::Terminal;
        selector.nkeys = u8::try_from(self.keys.len()).unwrap_or(u8::MAX);
        selector.keys.clone_from(&self.keys);
        TcFilterU32Option::Selector(selector)
    }
}

/// What becomes of a packet that matches.
pub(super) enum Verdict {
    /// It goes on to the stack, as if no filter were there.
    Pass,
    /// It arrives at the interface of this index instead.
    ArriveAt(u32),
}

/// Adds a filter to what arrives at the interface of `index`, which has an
/// ingress qdisc. Lower priorities come first.
pub(super) async fn add(
    handle: &Handle,
    index: u32,
    priority: u16,
    packet: &Packet,
    verdict: Verdict,
) -> Result<(), Error> {
    let mut options = vec![packet.selector()];
    match verdict {
        // A match without an action ends the search.
        Verdict::Pass => {}
        Verdict::ArriveAt(to) => options.push(TcFilterU32Option::Action(vec![arrive_at(to)])),
    }
    handle
        .traffic_filter(index.cast_signed())
        .add()
        .parent(INGRESS)
        .priority(priority)
        .protocol(packet.protocol.to_be())
        .u32(&options)?
        .execute()
        .await
}

/// tc-mirred(8): `mirred ingress redirect`.
fn arrive_at(index: u32) -> TcAction {
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::IngressRedir;
    mirror.ifindex = index;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(
            mirror,
        ))]),
    ];
    action
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(packet: &Packet) -> Vec<(i32, u32, u32)> {
        packet.keys.iter().map(|k| (k.off, k.val, k.mask)).collect()
    }

    #[test]
    fn a_prefix_is_a_mask() {
        let packet = Packet::ipv4().v4_to(Ipv4Addr::LOCALHOST, 8);
        assert_eq!(words(&packet), [(16, 0x7f00_0000, 0xff00_0000)]);
        let all = Packet::ipv4().v4_to(Ipv4Addr::LOCALHOST, 0);
        assert_eq!(words(&all), [(16, 0, 0)]);
    }

    #[test]
    fn an_address_of_ipv6_is_four_words() {
        let packet = Packet::ipv6().tcp().v6_from(Ipv6Addr::LOCALHOST);
        let expected = [(4, 0x600, 0xff00), (8, 0, u32::MAX), (12, 0, u32::MAX)];
        assert_eq!(words(&packet)[..3], expected);
        assert_eq!(words(&packet)[3..], [(16, 0, u32::MAX), (20, 1, u32::MAX)]);
    }
}
