//! What is on the wire between device and tap: a header, then a frame
//! (virtio 1.2, section 5.1.6).

use super::features::Features;

/// `struct virtio_net_hdr` with `num_buffers`.
pub(super) const HEADER: usize = 12;
/// Where `num_buffers` is in it.
pub(super) const NUM_BUFFERS: usize = 10;
/// Ethernet's header.
pub(super) const FRAME_HEADER: usize = 14;
/// What a VLAN adds to it.
const VLAN_TAG: usize = 4;
/// Most that segmentation is left to others for: what an IPv4 or IPv6 header
/// can tell the length of, and the kernel's default limit.
const MOST_SEGMENTED: usize = 1 << 16;

/// Longest packet to send, header included.
pub(super) const MOST_SENT: usize = HEADER + FRAME_HEADER + VLAN_TAG + MOST_SEGMENTED;

/// Longest packet that the tap gives, header included, for a driver that
/// accepted `features` on an interface of that MTU.
pub(super) fn most_received(features: Features, mtu: u16) -> usize {
    let payload = match features.receives_segmented() {
        true => MOST_SEGMENTED,
        false => usize::from(mtu),
    };
    HEADER + FRAME_HEADER + VLAN_TAG + payload
}
