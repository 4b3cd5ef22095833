//! A driver for the tests: one queue in a guest's memory.

use super::chain::Access;
use std::sync::atomic::{Ordering, fence};
use vhost_user_backend::{VringMutex, VringT};
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

const TABLE: u64 = 0x1000;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
/// Where buffers are put, one behind the other.
const BUFFERS: u64 = 0x10_000;
pub(crate) const MEMORY: usize = 4 << 20;
pub(crate) const SIZE: u16 = 16;

/// One part of a buffer: guest address and octets.
pub(crate) type Part = (u64, u32);

/// The queue as its driver sees it.
pub(crate) struct Driver {
    pub(crate) memory: GuestMemoryAtomic<GuestMemoryMmap>,
    pub(crate) vring: VringMutex,
    next_descriptor: u16,
    available: u16,
    free: u64,
}

impl Driver {
    /// A queue that is ready for use, with notifications by index.
    pub(crate) fn new() -> Self {
        let ranges = [(GuestAddress(0), MEMORY)];
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let vring = VringMutex::new(memory.clone(), SIZE).unwrap();
        vring.set_queue_size(SIZE);
        vring.set_queue_info(TABLE, AVAIL, USED).unwrap();
        vring.set_queue_event_idx(true);
        vring.set_queue_ready(true);
        vring.set_enabled(true);
        Self {
            memory,
            vring,
            next_descriptor: 0,
            available: 0,
            free: BUFFERS,
        }
    }

    /// Gives the device a notification to wait for, as for a queue that runs.
    pub(crate) fn start(&self) {
        let kick = nix::sys::eventfd::EventFd::new().unwrap();
        self.vring
            .set_kick(Some(std::os::fd::OwnedFd::from(kick).into()));
    }

    /// Puts octets into memory.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> Part {
        let part = self.reserve(bytes.len());
        self.write(part.0, bytes);
        part
    }

    /// Memory for the device to write to.
    pub(crate) fn reserve(&mut self, len: usize) -> Part {
        let address = self.free;
        self.free += u64::try_from(len).unwrap();
        (address, u32::try_from(len).unwrap())
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        let memory = self.memory.memory();
        memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub(crate) fn read(&self, (address, len): Part) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        let memory = self.memory.memory();
        memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }

    /// Makes a buffer of these parts available. Its head.
    pub(crate) fn offer(&mut self, parts: &[Part], access: Access) -> u16 {
        let head = self.next_descriptor;
        for (index, (address, len)) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            self.describe(*address, *len, flags(access, more));
        }
        self.announce(head);
        head
    }

    /// The same by way of an indirect table.
    pub(crate) fn offer_indirect(&mut self, parts: &[Part], access: Access) -> u16 {
        let mut table = Vec::new();
        for (index, (address, len)) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            let next = u16::try_from(index + 1).unwrap();
            table.extend(descriptor(*address, *len, flags(access, more), next));
        }
        let (address, len) = self.place(&table);
        let head = self.next_descriptor;
        self.describe(address, len, u16::try_from(VRING_DESC_F_INDIRECT).unwrap());
        self.announce(head);
        head
    }

    /// Writes the next descriptor; it continues with the one behind it.
    pub(crate) fn describe(&mut self, address: u64, len: u32, flags: u16) {
        let next = (self.next_descriptor + 1) % SIZE;
        let bytes = descriptor(address, len, flags, next);
        self.write(TABLE + 16 * u64::from(self.next_descriptor), &bytes);
        self.next_descriptor = next;
    }

    /// Puts a head into the available ring.
    pub(crate) fn announce(&mut self, head: u16) {
        let slot = AVAIL + 4 + 2 * u64::from(self.available % SIZE);
        self.write(slot, &head.to_le_bytes());
        self.set_available(self.available.wrapping_add(1));
    }

    /// Sets the index of the available ring.
    pub(crate) fn set_available(&mut self, index: u16) {
        self.available = index;
        self.write(AVAIL + 2, &index.to_le_bytes());
    }

    /// The buffers that came back: head and octets written.
    pub(crate) fn used(&self) -> Vec<(u32, u32)> {
        let count = self.used_index();
        let element = |index: u16| {
            let bytes = self.read((USED + 4 + 8 * u64::from(index % SIZE), 8));
            let (head, len) = bytes.split_at(4);
            (
                u32::from_le_bytes(head.try_into().unwrap()),
                u32::from_le_bytes(len.try_into().unwrap()),
            )
        };
        (0..count).map(element).collect()
    }

    pub(crate) fn used_index(&self) -> u16 {
        self.number(USED + 2)
    }

    /// Whether the driver has to notify the device of the buffer it has just
    /// made available (section 2.7.13.4).
    pub(crate) fn must_notify(&self, event_idx: bool) -> bool {
        fence(Ordering::SeqCst);
        if event_idx {
            let avail_event = self.number(USED + 4 + 8 * u64::from(SIZE));
            avail_event == self.available.wrapping_sub(1)
        } else {
            self.number(USED) & 1 == 0
        }
    }

    /// Whether the device wants to be notified of the next buffer.
    pub(crate) fn is_notified(&self) -> bool {
        self.number(USED + 4 + 8 * u64::from(SIZE)) == self.available
    }

    fn number(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read((address, 2)).try_into().unwrap())
    }
}

fn flags(access: Access, more: bool) -> u16 {
    let next = if more { VRING_DESC_F_NEXT } else { 0 };
    let write = if access == Access::Write {
        VRING_DESC_F_WRITE
    } else {
        0
    };
    u16::try_from(next | write).unwrap()
}

fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}
