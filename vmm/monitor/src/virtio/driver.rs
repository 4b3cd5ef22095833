//! A driver for the tests: one queue in a guest's memory.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::chain::Access;
use super::device::{Interrupt, ReadyQueue};
use super::queue::{Half, Part, QueueSetup};
use crate::memory::ram;

/// Guest memory that a queue has for its rings and buffers.
const SPAN: u64 = 16 << 20;
const AVAIL: u64 = 0x10_000;
const USED: u64 = 0x20_000;
const BUFFERS: u64 = 0x100_000;

/// Part of a buffer: guest address and bytes.
pub(crate) type Region = (u64, usize);

/// 64 MiB of RAM, which four queues have room in.
pub(crate) fn memory() -> GuestMemoryMmap {
    ram::allocate(64).unwrap()
}

/// The guest's end of interrupts.
pub(crate) struct Line(Arc<EventFd>);

impl Line {
    pub(crate) fn new() -> Self {
        Self(Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()))
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt::new(Arc::clone(&self.0))
    }

    /// Interrupts since the last call.
    pub(crate) fn count(&self) -> u64 {
        self.0.read().unwrap_or(0)
    }
}

/// The queue as its driver sees it.
pub(crate) struct Driver {
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) kick: Arc<EventFd>,
    size: u16,
    event_idx: bool,
    base: u64,
    next_descriptor: u16,
    available: u16,
    free: u64,
    seen: u16,
}

impl Driver {
    /// Queue number `number` of those in `memory`.
    pub(crate) fn new(memory: &GuestMemoryMmap, number: u64, size: u16, event_idx: bool) -> Self {
        let base = number * SPAN;
        Self {
            memory: memory.clone(),
            kick: Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()),
            size,
            event_idx,
            base,
            next_descriptor: 0,
            available: 0,
            free: base + BUFFERS,
            seen: 0,
        }
    }

    /// The queue for the device.
    pub(crate) fn ready(&self) -> ReadyQueue {
        let mut setup = QueueSetup::new(self.size);
        for (part, offset) in [
            (Part::Descriptors, 0),
            (Part::Driver, AVAIL),
            (Part::Device, USED),
        ] {
            let address = u32::try_from(self.base + offset).unwrap();
            setup.set_address(part, Half::Low, address);
        }
        ReadyQueue {
            queue: setup.build(0, &self.memory, self.event_idx).unwrap(),
            kick: Arc::clone(&self.kick),
        }
    }

    /// Puts bytes into memory.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> Region {
        let region = self.reserve(bytes.len());
        self.write(region.0, bytes);
        region
    }

    /// Memory that nothing else uses.
    pub(crate) fn reserve(&mut self, length: usize) -> Region {
        let address = self.free;
        self.free += length as u64;
        assert!(self.free <= self.base + SPAN, "no memory for buffers");
        (address, length)
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        let written = self.memory.write_slice(bytes, GuestAddress(address));
        written.unwrap();
    }

    pub(crate) fn read(&self, (address, length): Region) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.memory.read_slice(&mut bytes, GuestAddress(address));
        read.unwrap();
        bytes
    }

    /// Makes a buffer of these parts available. Its head.
    pub(crate) fn offer(&mut self, parts: &[(Region, Access)]) -> u16 {
        let head = self.next_descriptor;
        for (index, (region, access)) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            self.describe(*region, flags(*access, more));
        }
        self.announce(head);
        head
    }

    /// The same by way of a table.
    pub(crate) fn offer_indirect(&mut self, parts: &[(Region, Access)]) -> u16 {
        let mut table = Vec::new();
        for (index, (region, access)) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            let next = u16::try_from(index + 1).unwrap();
            table.extend(descriptor(*region, flags(*access, more), next));
        }
        let table = self.place(&table);
        self.offer_table(table)
    }

    /// Makes available what the table there describes.
    pub(crate) fn offer_table(&mut self, table: Region) -> u16 {
        let head = self.next_descriptor;
        self.describe(table, u16::try_from(VRING_DESC_F_INDIRECT).unwrap());
        self.announce(head);
        head
    }

    /// A chain of every entry that leads back to its start.
    pub(crate) fn offer_loop(&mut self, region: Region, access: Access) -> u16 {
        let head = self.next_descriptor;
        for _ in 0..self.size {
            self.describe(region, flags(access, true));
        }
        self.announce(head);
        head
    }

    /// Writes the next descriptor; it continues with the one behind it.
    pub(crate) fn describe(&mut self, region: Region, flags: u16) {
        let next = (self.next_descriptor + 1) % self.size;
        let address = self.base + 16 * u64::from(self.next_descriptor);
        self.write(address, &descriptor(region, flags, next));
        self.next_descriptor = next;
    }

    /// Puts a head into the available ring.
    pub(crate) fn announce(&mut self, head: u16) {
        let entry = self.base + AVAIL + 4 + 2 * u64::from(self.available % self.size);
        self.write(entry, &head.to_le_bytes());
        self.set_available(self.available.wrapping_add(1));
    }

    /// Sets the index of the available ring.
    pub(crate) fn set_available(&mut self, index: u16) {
        self.available = index;
        self.write(self.base + AVAIL + 2, &index.to_le_bytes());
    }

    /// Notifies the device if it wants that. Whether it did.
    pub(crate) fn kick(&self) -> bool {
        let wanted = !self.event_idx
            || self.number(USED + 4 + 8 * u64::from(self.size)) == self.available.wrapping_sub(1);
        if wanted {
            self.kick.write(1).unwrap();
        }
        wanted
    }

    /// Wants to be told when the used index passes `index`.
    pub(crate) fn set_used_event(&self, index: u16) {
        let address = self.base + AVAIL + 4 + 2 * u64::from(self.size);
        self.write(address, &index.to_le_bytes());
    }

    /// Flags of the available ring.
    pub(crate) fn set_flags(&self, flags: u16) {
        self.write(self.base + AVAIL, &flags.to_le_bytes());
    }

    /// What came back since the last call: head and bytes written.
    pub(crate) fn used(&mut self) -> Vec<(u32, u32)> {
        let mut used = Vec::new();
        while self.seen != self.used_index() {
            let entry = USED + 4 + 8 * u64::from(self.seen % self.size);
            let number = |offset| {
                let bytes = self.read((self.base + entry + offset, 4));
                u32::from_le_bytes(bytes.try_into().unwrap())
            };
            used.push((number(0), number(4)));
            self.seen = self.seen.wrapping_add(1);
        }
        used
    }

    pub(crate) fn used_index(&self) -> u16 {
        self.number(USED + 2)
    }

    fn number(&self, offset: u64) -> u16 {
        let bytes = self.read((self.base + offset, 2));
        u16::from_le_bytes(bytes.try_into().unwrap())
    }
}

/// A descriptor as a hostile driver writes it: address, length, flags (next,
/// write, indirect), and what follows.
pub(crate) type Raw = (u64, u32, u16, u16);

/// Any table of `size` descriptors, most of them about memory, and heads of
/// chains in it, of which few are none.
pub(crate) fn hostile(size: u16) -> impl Strategy<Value = (Vec<Raw>, Vec<u16>)> {
    let address = prop_oneof![8 => 0..64_u64 << 20, 1 => 0..u64::from(size), 1 => any::<u64>()];
    let length = prop_oneof![4 => 0..5000_u32, 2 => 0..40_u32, 1 => any::<u32>()];
    let flags = prop_oneof![8 => 0..4_u16, 1 => 4..8_u16];
    let table = vec((address, length, flags, 0..size + 1), usize::from(size));
    (table, vec(0..size, 1..usize::from(size)))
}

impl Driver {
    /// Writes such a table, and makes such heads available.
    pub(crate) fn offer_raw(&mut self, table: &[Raw], heads: &[u16]) {
        for (index, (address, length, flags, next)) in (0_u64..).zip(table) {
            let bytes = descriptor((*address, *length as usize), *flags, *next);
            self.write(self.base + 16 * index, &bytes);
        }
        heads.iter().for_each(|head| self.announce(*head));
    }
}

/// All of one kind.
pub(crate) fn all(regions: &[Region], access: Access) -> Vec<(Region, Access)> {
    regions.iter().map(|region| (*region, access)).collect()
}

pub(crate) fn flags(access: Access, more: bool) -> u16 {
    let next = if more { VRING_DESC_F_NEXT } else { 0 };
    let write = if access == Access::Write {
        VRING_DESC_F_WRITE
    } else {
        0
    };
    u16::try_from(next | write).unwrap()
}

pub(crate) fn descriptor((address, length): Region, flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}
