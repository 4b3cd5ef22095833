//! One open `/dev/vhost-net` (`linux/vhost.h`): a thread of the host's kernel that
//! moves the packets of one pair of queues between guest memory and a tap.
//!
//! The kernel takes rings by their addresses in this process, and trusts them as
//! it trusts a process's own pointers: that each ring lies in guest memory, in one
//! piece, is for this side to make sure of.

#![allow(unsafe_code)] // The request that is vhost-net's alone has no safe wrapper.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use vhost::vhost_kern::VhostKernBackend;
use vhost::vhost_kern::vhost_binding::{VHOST_NET_SET_BACKEND, vhost_vring_file};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::virtio::device::{Interrupt, ReadyQueue};

/// The host's kernel does not move packets.
#[derive(Debug, thiserror::Error)]
pub enum VhostNetError {
    /// It refuses.
    #[error("{step} the host kernel's vhost-net")]
    Request {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: vhost::Error,
    },
    /// It does not let go of a tap, or does not take it.
    #[error("{step} the host kernel's vhost-net")]
    Backend {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: Errno,
    },
    /// It is older than the devices here.
    #[error("the host kernel's vhost-net does not know virtio 1")]
    Old,
}

/// What it has to know of what the driver accepted: how rings and buffers are
/// laid out. Never the log of written pages, nor a header of its own making: those
/// are no features of a device.
const LAYOUT: [u32; 4] = [
    VIRTIO_F_VERSION_1,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_RING_F_EVENT_IDX,
    VIRTIO_RING_F_INDIRECT_DESC,
];

/// The same as bits.
pub(super) const LAYOUT_BITS: u64 = {
    let [a, b, c, d] = LAYOUT;
    1 << a | 1 << b | 1 << c | 1 << d
};

/// Receive and transmit, as the kernel numbers them.
pub(super) type Queues = [ReadyQueue; 2];

/// What all pairs of a device have in common.
pub(super) struct Terms<'d> {
    /// What the driver accepted.
    pub(super) features: u64,
    /// Where its buffers are.
    pub(super) memory: &'d GuestMemoryMmap,
    /// How it is told.
    pub(super) interrupt: &'d Interrupt,
    /// Written to when a ring makes no sense.
    pub(super) broken: &'d EventFd,
}

/// The descriptor.
pub(super) struct VhostNet {
    fd: OwnedFd,
    features: u64,
    /// It has a tap, or may have one. Before it knows of memory, it refuses even to be
    /// without.
    connected: Cell<bool>,
}

impl VhostNet {
    /// Makes `fd` this process's: from here on, its thread is one of this
    /// process's, in its control groups.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, VhostNetError> {
        let nowhere = GuestMemoryMmap::new();
        let requests = Requests::new(fd.as_fd(), &nowhere);
        requests.set_owner().map_err(failed("take"))?;
        let features = requests.get_features().map_err(failed("ask"))?;
        match features >> VIRTIO_F_VERSION_1 & 1 {
            1 => Ok(Self {
                fd,
                features,
                connected: Cell::new(false),
            }),
            _ => Err(VhostNetError::Old),
        }
    }

    /// Of what a device could offer, what it can with this.
    pub(super) fn narrow(&self, offered: u64) -> u64 {
        offered & (!LAYOUT_BITS | self.features)
    }

    /// Has it know the queues; it leaves them alone until it has a tap.
    pub(super) fn set_up(&self, queues: &Queues, terms: &Terms<'_>) -> Result<(), VhostNetError> {
        let requests = Requests::new(self.fd.as_fd(), terms.memory);
        let regions: Result<Vec<_>, _> = terms
            .memory
            .iter()
            .map(VhostUserMemoryRegionInfo::from_guest_region)
            .collect();
        requests
            .set_features(terms.features & LAYOUT_BITS)
            .map_err(failed("agree on features with"))?;
        regions
            .and_then(|regions| requests.set_mem_table(&regions))
            .map_err(failed("share memory with"))?;
        for (index, ready) in queues.iter().enumerate() {
            requests
                .set_up(index, ready, terms)
                .map_err(failed("give a queue to"))?;
        }
        Ok(())
    }

    /// Has it move packets between the queues and `tap`. If it does already,
    /// nothing changes.
    pub(super) fn connect(
        &self,
        tap: BorrowedFd<'_>,
        queues: &Queues,
    ) -> Result<(), VhostNetError> {
        self.connected.set(true);
        self.set_backends(tap.as_raw_fd())
            .map_err(backend("give a tap to"))?;
        for ready in queues {
            // Whatever was made available before is not told of again.
            let _ = ready.kick.write(1);
        }
        Ok(())
    }

    /// Takes the tap away: it touches no queue when this returns.
    pub(super) fn disconnect(&self) -> Result<(), VhostNetError> {
        if self.connected.get() {
            self.set_backends(NO_TAP)
                .map_err(backend("take a tap from"))?;
            self.connected.set(false);
        }
        Ok(())
    }

    /// The kernel has one for each queue.
    fn set_backends(&self, fd: RawFd) -> Result<(), Errno> {
        let queues = 0_u32..2;
        let set = queues.map(|index| self.set_backend(vhost_vring_file { index, fd }));
        set.fold(Ok(()), Result::and)
    }

    fn set_backend(&self, file: vhost_vring_file) -> Result<(), Errno> {
        // SAFETY: the structure is what the request takes, and outlives the call;
        // on anything but vhost-net the kernel refuses it.
        let set = unsafe {
            vmm_sys_util::ioctl::ioctl_with_ref(&self.fd, VHOST_NET_SET_BACKEND(), &file)
        };
        Errno::result(set).map(drop)
    }
}

const NO_TAP: RawFd = -1;

/// Requests about rings that are in `memory`.
struct Requests<'m> {
    fd: RawFd,
    memory: &'m GuestMemoryMmap,
}

impl<'m> Requests<'m> {
    fn new(fd: BorrowedFd<'m>, memory: &'m GuestMemoryMmap) -> Self {
        let fd = fd.as_raw_fd();
        Self { fd, memory }
    }

    fn set_up(
        &self,
        index: usize,
        ready: &ReadyQueue,
        terms: &Terms<'_>,
    ) -> Result<(), vhost::Error> {
        self.set_vring_num(index, ready.queue.size())?;
        self.set_vring_base(index, ready.queue.next_avail())?;
        self.set_vring_addr(index, &rings(ready))?;
        self.set_vring_call(index, terms.interrupt.event())?;
        self.set_vring_err(index, terms.broken)?;
        self.set_vring_kick(index, &ready.kick)
    }
}

impl AsRawFd for Requests<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl<'m> VhostKernBackend for Requests<'m> {
    type AS = &'m GuestMemoryMmap;

    fn mem(&self) -> &Self::AS {
        &self.memory
    }

    fn is_valid(&self, rings: &VringConfigData) -> bool {
        in_one_piece(rings, self.memory)
    }
}

/// Whether the kernel can be given the queue: see [`in_one_piece`].
pub(super) fn is_usable(ready: &ReadyQueue, memory: &GuestMemoryMmap) -> bool {
    in_one_piece(&rings(ready), memory)
}

fn rings(ready: &ReadyQueue) -> VringConfigData {
    let queue = &ready.queue;
    VringConfigData {
        queue_max_size: queue.max_size(),
        queue_size: queue.size(),
        flags: 0,
        desc_table_addr: queue.desc_table(),
        used_ring_addr: queue.used_ring(),
        avail_ring_addr: queue.avail_ring(),
        log_addr: None,
    }
}

/// Flags, index, and the event's index behind the elements (virtio 1.2, sections
/// 2.7.6 and 2.7.8).
const RING_EXTRA: usize = 6;
const DESCRIPTOR: usize = 16;
const AVAIL_ELEMENT: usize = 2;
const USED_ELEMENT: usize = 8;

/// Whether each ring lies in one region. Regions that are neighbours in the guest
/// are not in this process: behind the first comes something else of ours.
fn in_one_piece(rings: &VringConfigData, memory: &GuestMemoryMmap) -> bool {
    let size = usize::from(rings.queue_size);
    let parts = [
        (rings.desc_table_addr, DESCRIPTOR * size),
        (rings.avail_ring_addr, RING_EXTRA + AVAIL_ELEMENT * size),
        (rings.used_ring_addr, RING_EXTRA + USED_ELEMENT * size),
    ];
    let is_one = |(address, length)| memory.get_slice(GuestAddress(address), length).is_ok();
    size.is_power_of_two() && parts.into_iter().all(is_one)
}

fn failed(step: &'static str) -> impl FnOnce(vhost::Error) -> VhostNetError {
    move |source| VhostNetError::Request { step, source }
}

fn backend(step: &'static str) -> impl FnOnce(Errno) -> VhostNetError {
    move |source| VhostNetError::Backend { step, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::queue::{Half, Part, QueueSetup};
    use std::sync::Arc;
    use vm_memory::{FileOffset, GuestRegionMmap, MmapRegion};

    const MIB: u64 = 1 << 20;

    /// Two regions that are neighbours in the guest, and not here.
    fn memory() -> GuestMemoryMmap {
        let regions = [0, MIB].map(|start| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(MIB).unwrap();
            let part = FileOffset::new(file, 0);
            let mapping = MmapRegion::from_file(part, 1 << 20).unwrap();
            GuestRegionMmap::new(mapping, GuestAddress(start)).unwrap()
        });
        GuestMemoryMmap::from_regions(regions.into()).unwrap()
    }

    fn queue(memory: &GuestMemoryMmap, parts: [u64; 3]) -> ReadyQueue {
        let mut setup = QueueSetup::new(256);
        for (part, address) in [Part::Descriptors, Part::Driver, Part::Device]
            .into_iter()
            .zip(parts)
        {
            setup.set_address(part, Half::Low, u32::try_from(address).unwrap());
        }
        ReadyQueue {
            queue: setup.build(0, memory, true).unwrap(),
            kick: Arc::new(EventFd::new(0).unwrap()),
        }
    }

    #[test]
    fn rings_over_the_border_of_two_regions_are_not_given_to_the_kernel() {
        let memory = memory();
        let good = [0x1000, 0x3000, 0x4000];
        assert!(is_usable(&queue(&memory, good), &memory));
        // The last that fits, and the first that does not: as many bytes as 256
        // elements have.
        for (part, bytes, step) in [(0, 4096, 16), (1, 518, 2), (2, 2054, 4)] {
            let last = (MIB - bytes) / step * step;
            for (address, usable) in [(last, true), (last + step, false), (MIB, true)] {
                let mut parts = good;
                parts[part] = address;
                let queue = queue(&memory, parts);
                assert_eq!(is_usable(&queue, &memory), usable, "{part} {address:#x}");
            }
        }
    }

    #[test]
    fn rings_may_end_where_memory_ends() {
        let memory = memory();
        let queue = queue(&memory, [2 * MIB - 4096, 0x3000, 0x4000]);
        assert!(is_usable(&queue, &memory));
    }

    #[test]
    fn what_is_no_vhost_net_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let refused = VhostNet::new(file.into()).err().unwrap();
        assert_eq!(refused.to_string(), "take the host kernel's vhost-net");
    }

    /// `linux/vhost.h`: the log and the kernel's own header are bits 26 and 27.
    #[test]
    fn only_the_layout_is_the_kernels() {
        assert_eq!(LAYOUT_BITS & (1 << 26 | 1 << 27), 0);
        assert_eq!(LAYOUT_BITS, 1 << 32 | 1 << 15 | 1 << 29 | 1 << 28);
    }

    #[test]
    fn what_the_kernel_does_not_know_is_not_offered() {
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let features = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
        let old = VhostNet {
            fd,
            features,
            connected: Cell::new(false),
        };
        let mac = 1 << 5;
        let offered = LAYOUT_BITS | mac;
        assert_eq!(old.narrow(offered), features | mac);
        assert_eq!(old.narrow(mac), mac);
    }
}
