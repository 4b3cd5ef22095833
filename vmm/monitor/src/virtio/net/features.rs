//! What device and driver can leave to each other (virtio 1.2, section 5.1.3).

use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_bindings::virtio_net as net;

/// What the tap has to do before the guest gets a packet, unless the guest
/// does it: a feature, and the flag that tells the tap (`linux/if_tun.h`).
#[rustfmt::skip]
const RECEIVED: [(u32, u32); 7] = [
    (net::VIRTIO_NET_F_GUEST_CSUM, libc::TUN_F_CSUM),
    (net::VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4),
    (net::VIRTIO_NET_F_GUEST_TSO6, libc::TUN_F_TSO6),
    (net::VIRTIO_NET_F_GUEST_ECN,  libc::TUN_F_TSO_ECN),
    (net::VIRTIO_NET_F_GUEST_UFO,  libc::TUN_F_UFO),
    (net::VIRTIO_NET_F_GUEST_USO4, libc::TUN_F_USO4),
    (net::VIRTIO_NET_F_GUEST_USO6, libc::TUN_F_USO6),
];

/// Of those, what needs a Linux from 6.2 on. A tap takes both or none.
const UDP_SEGMENTS: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Those of which packets come that are longer than the MTU.
const SEGMENTS: u32 = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_UFO | UDP_SEGMENTS;

/// What every tap with a virtio-net header takes from the guest.
const SENT: [u32; 5] = [
    net::VIRTIO_NET_F_CSUM,
    net::VIRTIO_NET_F_HOST_TSO4,
    net::VIRTIO_NET_F_HOST_TSO6,
    net::VIRTIO_NET_F_HOST_ECN,
    net::VIRTIO_NET_F_HOST_UFO,
];

/// What has nothing to do with the tap.
const DEVICE: [u32; 6] = [
    net::VIRTIO_NET_F_MAC,
    net::VIRTIO_NET_F_MTU,
    net::VIRTIO_NET_F_STATUS,
    net::VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_RING_F_INDIRECT_DESC,
];

/// What it takes to use more than one pair of queues. With one pair nothing is
/// to be controlled, and a queue less is set up at every start.
const SEVERAL_PAIRS: [u32; 2] = [net::VIRTIO_NET_F_CTRL_VQ, net::VIRTIO_NET_F_MQ];

/// Some features, as the transport has them: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features(pub(super) u64);

impl Features {
    /// What a device offers.
    pub(super) fn offered(udp_segments: bool, pairs: usize) -> Self {
        let received = RECEIVED.iter().filter(|(_, flag)| {
            let needs_udp_segments = flag & UDP_SEGMENTS != 0;
            udp_segments || !needs_udp_segments
        });
        let udp_sent = udp_segments.then_some(net::VIRTIO_NET_F_HOST_USO);
        let several = SEVERAL_PAIRS.iter().filter(|_| pairs > 1);
        let all = received
            .map(|(feature, _)| feature)
            .chain(&SENT)
            .chain(&udp_sent)
            .chain(&DEVICE)
            .chain(several);
        Self(all.fold(0, |bits, feature| bits | 1 << feature))
    }

    pub(super) fn has(self, feature: u32) -> bool {
        self.0 >> feature & 1 == 1
    }

    /// A packet may lie in several buffers.
    pub(super) fn merges_buffers(self) -> bool {
        self.has(net::VIRTIO_NET_F_MRG_RXBUF)
    }

    /// The driver takes packets that others would have to cut up.
    pub(super) fn receives_segmented(self) -> bool {
        self.offloads() & SEGMENTS != 0
    }

    /// What the tap may leave to the driver, as `TUNSETOFFLOAD` takes it.
    /// Drivers must not accept one without what it builds on (section 5.1.3.1),
    /// and a tap refuses all then.
    pub(super) fn offloads(self) -> u32 {
        let accepted = RECEIVED.iter().filter(|(feature, _)| self.has(*feature));
        let flags = accepted.fold(0, |flags, (_, flag)| flags | flag);
        let has = |wanted: u32| flags & wanted != 0;
        if !has(libc::TUN_F_CSUM) {
            return 0;
        }
        let baseless = [
            (
                libc::TUN_F_TSO_ECN,
                has(libc::TUN_F_TSO4 | libc::TUN_F_TSO6),
            ),
            (UDP_SEGMENTS, flags & UDP_SEGMENTS == UDP_SEGMENTS),
        ];
        let baseless = baseless.iter().filter(|(_, based)| !based);
        baseless.fold(flags, |flags, (flag, _)| flags & !flag)
    }
}

/// All that a tap can leave to a driver, where the kernel knows UDP segments.
pub(super) const ALL_OFFLOADS: u32 = libc::TUN_F_CSUM
    | libc::TUN_F_TSO4
    | libc::TUN_F_TSO6
    | libc::TUN_F_TSO_ECN
    | libc::TUN_F_UFO
    | UDP_SEGMENTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tap_leaves_to_the_driver_what_it_accepted_and_nothing_else() {
        let all = Features::offered(true, 1);
        assert_eq!(all.offloads(), ALL_OFFLOADS);
        assert_eq!(all.offloads(), 0x7f);
        assert_eq!(Features(0).offloads(), 0);
        let some = Features(1 << 1 | 1 << 8);
        assert_eq!(some.offloads(), libc::TUN_F_CSUM | libc::TUN_F_TSO6);
    }

    #[test]
    fn what_a_tap_would_refuse_is_not_asked_for() {
        let csum = 1_u64 << net::VIRTIO_NET_F_GUEST_CSUM;
        for (feature, alone) in [
            (net::VIRTIO_NET_F_GUEST_USO4, 0),
            (net::VIRTIO_NET_F_GUEST_USO6, 0),
            (net::VIRTIO_NET_F_GUEST_ECN, 0),
            (net::VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4),
            (net::VIRTIO_NET_F_GUEST_UFO, libc::TUN_F_UFO),
        ] {
            assert_eq!(Features(1 << feature).offloads(), 0);
            let offloads = Features(csum | 1 << feature).offloads();
            assert_eq!(offloads, libc::TUN_F_CSUM | alone);
        }
    }

    #[test]
    fn an_old_kernel_s_tap_is_offered_without_udp_segments() {
        let offered = Features::offered(false, 1);
        assert_eq!(offered.offloads(), ALL_OFFLOADS & !UDP_SEGMENTS);
        assert!(!offered.has(net::VIRTIO_NET_F_HOST_USO));
    }

    #[test]
    fn one_pair_needs_no_control() {
        for (pairs, control) in [(1, false), (2, true)] {
            let offered = Features::offered(true, pairs);
            assert_eq!(offered.has(net::VIRTIO_NET_F_CTRL_VQ), control);
            assert_eq!(offered.has(net::VIRTIO_NET_F_MQ), control);
        }
    }

    #[test]
    fn only_segments_make_long_packets() {
        let checksum_only = Features(1 << net::VIRTIO_NET_F_GUEST_CSUM);
        assert!(!checksum_only.receives_segmented());
        assert!(Features::offered(false, 1).receives_segmented());
    }
}
