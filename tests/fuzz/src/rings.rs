//! The rings of one queue, as their driver writes them: as it should, and
//! otherwise.

use arbitrary::Arbitrary;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::machine::MEMORY;

/// Memory of a queue and its buffers.
const SPAN: u64 = 1 << 20;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Where a queue is in the guest's memory.
#[derive(Clone, Copy)]
pub struct Queue(u64);

impl Queue {
    /// The one of that number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(SPAN * (1 + number))
    }

    /// Its descriptors.
    #[must_use]
    pub fn table(self) -> u64 {
        self.0
    }

    /// Its available ring.
    #[must_use]
    pub fn available(self) -> u64 {
        self.0 + 0x8000
    }

    /// Its used ring.
    #[must_use]
    pub fn used(self) -> u64 {
        self.0 + 0x1_0000
    }

    /// Where its buffers are.
    #[must_use]
    pub fn buffers(self) -> u64 {
        self.0 + 0x2_0000
    }
}

/// A guest address, most often one where something is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Address {
    /// Among the buffers of the queue.
    Buffer(u16),
    /// In its table and rings.
    Rings(u16),
    /// Around the end of memory.
    End(i8),
    /// Around the device's registers.
    Registers(u8),
    /// At the end of all addresses.
    Last(u8),
    /// Anywhere.
    Any(u64),
}

impl Address {
    /// In numbers.
    #[must_use]
    pub fn of(self, queue: Queue) -> u64 {
        match self {
            Self::Buffer(offset) => queue.buffers() + 4 * u64::from(offset),
            Self::Rings(offset) => queue.table() + u64::from(offset),
            Self::End(offset) => MEMORY.wrapping_add_signed(offset.into()),
            Self::Registers(offset) => 0xd000_0000 + u64::from(offset),
            Self::Last(offset) => u64::MAX - u64::from(offset),
            Self::Any(address) => address,
        }
    }
}

/// Bytes of a buffer, most often few.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Length {
    /// Few.
    Small(u8),
    /// Up to as many as a packet has.
    Medium(u16),
    /// Any number.
    Any(u32),
}

impl Length {
    /// In numbers.
    #[must_use]
    pub fn get(self) -> u32 {
        match self {
            Self::Small(length) => length.into(),
            Self::Medium(length) => length.into(),
            Self::Any(length) => length,
        }
    }
}

/// Part of a chain.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Part {
    address: Address,
    length: Length,
    writable: bool,
}

impl Part {
    fn located(self, queue: Queue) -> Located {
        (self.address.of(queue), self.length.get(), self.writable)
    }
}

/// The driver's side of a queue.
pub struct Rings {
    memory: GuestMemoryMmap,
    place: Queue,
    size: u16,
    next: u16,
    available: u16,
}

impl Rings {
    /// Of the queue of that number, with `size` entries.
    #[must_use]
    pub fn new(memory: &GuestMemoryMmap, number: u64, size: u16) -> Self {
        Self {
            memory: memory.clone(),
            place: Queue::new(number),
            size: size.max(1),
            next: 0,
            available: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Queue {
        self.place
    }

    /// As it was at first.
    pub fn reset(&mut self) {
        (self.next, self.available) = (0, 0);
        self.write(self.place.available(), &[0; 4]);
        self.write(self.place.used(), &[0; 4]);
    }

    /// Bytes into memory, as far as there is any.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(address));
    }

    /// A chain as it should be, perhaps by way of a table, which is made
    /// available.
    pub fn offer(&mut self, parts: &[Part], indirect: bool) {
        let parts: Vec<_> = parts.iter().map(|part| part.located(self.place)).collect();
        let head = self.next % self.size;
        match indirect {
            true => self.put_table(head, &parts),
            false => self.put_chain(head, &parts),
        }
        self.announce(head);
    }

    /// A chain of these parts: address, length, whether the device writes.
    pub fn offer_located(&mut self, parts: &[Located]) {
        let head = self.next % self.size;
        self.put_chain(head, parts);
        self.announce(head);
    }

    fn put_table(&mut self, head: u16, parts: &[Located]) {
        let table = self.place.buffers() + SPAN / 2;
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        for (index, part) in (0_u16..).zip(parts) {
            let bytes = descriptor(*part, following(index, count), index + 1);
            self.write(table + 16 * u64::from(index), &bytes);
        }
        let bytes = descriptor((table, 16 * u32::from(count), false), INDIRECT, 0);
        self.write(self.place.table() + 16 * u64::from(head), &bytes);
        self.next = head.wrapping_add(1);
    }

    fn put_chain(&mut self, head: u16, parts: &[Located]) {
        let count = u16::try_from(parts.len())
            .unwrap_or(u16::MAX)
            .min(self.size);
        for (index, part) in (0..count).zip(parts) {
            let at = head.wrapping_add(index) % self.size;
            let bytes = descriptor(*part, following(index, count), (at + 1) % self.size);
            self.write(self.place.table() + 16 * u64::from(at), &bytes);
        }
        self.next = head.wrapping_add(count) % self.size;
    }

    /// Any descriptor, anywhere in the table.
    pub fn describe(&self, index: u64, part: Part, flags: u16, next: u16) {
        let bytes = descriptor(part.located(self.place), flags, next);
        self.write(self.place.table() + 16 * index, &bytes);
    }

    /// A head is made available.
    pub fn announce(&mut self, head: u16) {
        let entry = u64::from(self.available % self.size);
        self.write(self.place.available() + 4 + 2 * entry, &head.to_le_bytes());
        self.jump(self.available.wrapping_add(1));
    }

    /// The available index becomes another.
    pub fn jump(&mut self, index: u16) {
        self.available = index;
        self.write(self.place.available() + 2, &index.to_le_bytes());
    }
}

/// Guest address, bytes, and whether the device writes them.
pub type Located = (u64, u32, bool);

fn following(index: u16, count: u16) -> u16 {
    if index + 1 < count { NEXT } else { 0 }
}

/// A descriptor (virtio 1.2, section 2.7.5).
fn descriptor((address, length, writable): Located, flags: u16, next: u16) -> Vec<u8> {
    let flags = if writable { flags | WRITE } else { flags };
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}
