//! Rings and chains (virtio 1.2, section 2.7), against a model of both that
//! follows the specification and nothing else.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use monitor::memory::ram;
use monitor::virtio::chain::{Access, BadChain, Piece, Pieces};
use monitor::virtio::device::{Interrupt, ReadyQueue};
use monitor::virtio::queue::{Half, Part, QueueSetup};
use monitor::virtio::ring::Ring;
use virtio_queue::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::machine::{MEMORY, MEMORY_MIB};

const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x3000;
const USED: u64 = 0x5000;
/// Of indirect tables.
const TABLES: u64 = 0x1_0000;
const MOST_SIZE: u16 = 256;
const MOST_STEPS: usize = 64;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Where {
    Low(u32),
    Table(u8),
    End(i8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Descriptor {
    address: Where,
    length: Length,
    flags: u8,
    next: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Table(u8),
    Small(u8),
    Any(u32),
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The driver writes a descriptor, of the table or of an indirect one.
    Describe(u8, Descriptor),
    DescribeIndirect(u8, Descriptor),
    Announce(u16),
    Jump(u16),
    /// The device takes the oldest chain and goes over it.
    Walk {
        most: u8,
        wanted: Option<bool>,
    },
    /// It gives back what it has, or any head.
    GiveBack(Option<u16>, u32),
    Show,
    /// The driver wants to be told at an index, the device tells.
    Event(u16, u16),
    Tell,
    Rearm,
}

/// Does as `data` says, on both sides of one queue.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let (Ok(exponent), Ok(event_idx)) = (bytes.int_in_range(0..=8_u16), bytes.arbitrary()) else {
        return;
    };
    let mut queue = Queue::new(1 << exponent, event_idx);
    for _ in 0..MOST_STEPS {
        match bytes.arbitrary() {
            Ok(step) if !bytes.is_empty() => queue.step(step),
            _ => break,
        }
    }
}

struct Queue {
    memory: GuestMemoryMmap,
    ring: Ring,
    call: Arc<EventFd>,
    size: u16,
    event_idx: bool,
    available: u16,
    taken: u16,
    held: Vec<u16>,
    given: u16,
    shown: u16,
    told: u16,
}

impl Queue {
    fn new(size: u16, event_idx: bool) -> Self {
        let memory = ram::allocate(MEMORY_MIB).unwrap();
        let mut setup = QueueSetup::new(MOST_SIZE);
        setup.set_size(size.into());
        for (part, address) in [
            (Part::Descriptors, TABLE),
            (Part::Driver, AVAILABLE),
            (Part::Device, USED),
        ] {
            setup.set_address(part, Half::Low, u32::try_from(address).unwrap());
        }
        let event = || Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let (kick, call) = (event(), event());
        let ready = ReadyQueue {
            queue: setup.build(0, &memory, event_idx).unwrap(),
            kick,
        };
        Self {
            ring: Ring::new(ready, Interrupt::new(Arc::clone(&call))),
            memory,
            call,
            size,
            event_idx,
            available: 0,
            taken: 0,
            held: Vec::new(),
            given: 0,
            shown: 0,
            told: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Describe(index, descriptor) => self.describe(TABLE, index, descriptor),
            Step::DescribeIndirect(index, descriptor) => self.describe(TABLES, index, descriptor),
            Step::Announce(head) => {
                let entry = AVAILABLE + 4 + 2 * u64::from(self.available % self.size);
                self.write(entry, &head.to_le_bytes());
                self.jump(self.available.wrapping_add(1));
            }
            Step::Jump(index) => self.jump(index),
            Step::Walk { most, wanted } => {
                let wanted = wanted.map(|write| if write { Access::Write } else { Access::Read });
                self.walk(most.into(), wanted);
            }
            Step::GiveBack(head, written) => self.give_back(head, written),
            Step::Show => {
                self.ring.show(&self.memory).unwrap();
                self.shown = self.given;
                assert_eq!(self.number(USED + 2), self.shown);
            }
            Step::Event(index, flags) => {
                let event = AVAILABLE + 4 + 2 * u64::from(self.size);
                self.write(event, &index.to_le_bytes());
                self.write(AVAILABLE, &flags.to_le_bytes());
            }
            Step::Tell => self.tell(),
            Step::Rearm => {
                let more = self.ring.rearm(&self.memory).unwrap();
                assert_eq!(more, self.available != self.taken);
            }
        }
    }

    fn describe(&self, table: u64, index: u8, descriptor: Descriptor) {
        let mut bytes = address(descriptor.address).to_le_bytes().to_vec();
        bytes.extend(length(descriptor.length).to_le_bytes());
        bytes.extend(u16::from(descriptor.flags & 7).to_le_bytes());
        bytes.extend(u16::from(descriptor.next).to_le_bytes());
        self.write(table + 16 * u64::from(index), &bytes);
    }

    fn jump(&mut self, index: u16) {
        self.available = index;
        self.write(AVAILABLE + 2, &index.to_le_bytes());
    }

    /// Section 2.7.6: a driver has never more available than there are entries.
    fn walk(&mut self, most: usize, wanted: Option<Access>) {
        let ahead = self.available.wrapping_sub(self.taken);
        let chain = match self.ring.take(&self.memory) {
            Err(Error::InvalidAvailRingIndex) => {
                assert!(ahead > self.size);
                return;
            }
            taken => taken.unwrap(),
        };
        assert!(ahead <= self.size);
        let Some(chain) = chain else {
            assert_eq!(ahead, 0);
            return;
        };
        let entry = AVAILABLE + 4 + 2 * u64::from(self.taken % self.size);
        let head = self.number(entry);
        self.taken = self.taken.wrapping_add(1);
        assert_eq!(chain.head_index(), head);
        self.held.push(head);
        let pieces = Pieces::of(chain, &self.memory, most);
        let found: Vec<_> = match wanted {
            Some(access) => pieces.only(access).collect(),
            None => pieces.collect(),
        };
        let model = Walk {
            memory: &self.memory,
            most,
            wanted,
        };
        assert_eq!(found, model.from(head, self.size));
    }

    fn give_back(&mut self, head: Option<u16>, written: u32) {
        let Some(head) = head.or_else(|| self.held.pop()) else {
            return;
        };
        let before = self.number(USED + 2);
        let given = self.ring.give_back(&self.memory, head, written);
        assert_eq!(given.is_ok(), head < self.size);
        if given.is_ok() {
            let element = USED + 4 + 8 * u64::from(self.given % self.size);
            let [id, bytes]: [u32; 2] = self.memory.read_obj(GuestAddress(element)).unwrap();
            assert_eq!((id, bytes), (head.into(), written));
            self.given = self.given.wrapping_add(1);
        }
        assert_eq!(self.number(USED + 2), before, "nothing is shown yet");
    }

    /// Section 2.7.7.2: the index that the driver names is among the new ones,
    /// or it wants to be told of all.
    fn tell(&mut self) {
        self.ring.tell(&self.memory).unwrap();
        let event = self.number(AVAILABLE + 4 + 2 * u64::from(self.size));
        let new = self.shown.wrapping_sub(self.told);
        let passed = (0..new).any(|step| self.told.wrapping_add(step) == event);
        let wanted = match self.event_idx {
            true => passed,
            false => new != 0 && self.number(AVAILABLE) & 1 == 0,
        };
        self.told = self.shown;
        assert_eq!(self.call.read().unwrap_or(0), u64::from(wanted));
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let written = self.memory.write_slice(bytes, GuestAddress(address));
        written.unwrap();
    }

    fn number(&self, address: u64) -> u16 {
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }
}

fn address(address: Where) -> u64 {
    match address {
        Where::Low(offset) => 0x10_0000 + u64::from(offset),
        Where::Table(index) => TABLES + 16 * u64::from(index),
        Where::End(offset) => MEMORY.wrapping_add_signed(offset.into()),
        Where::Any(address) => address,
    }
}

fn length(length: Length) -> u32 {
    match length {
        Length::Table(entries) => 16 * u32::from(entries),
        Length::Small(bytes) => bytes.into(),
        Length::Any(bytes) => bytes,
    }
}

/// A walk over a chain, by the specification.
struct Walk<'m> {
    memory: &'m GuestMemoryMmap,
    most: usize,
    wanted: Option<Access>,
}

impl Walk<'_> {
    fn from(&self, head: u16, size: u16) -> Vec<Result<Piece, BadChain>> {
        let (mut found, mut table, mut entries) = (Vec::new(), TABLE, u64::from(size));
        let (mut next, mut direct, mut total) = (Some(u64::from(head)), true, 0_u64);
        let (mut taken, mut steps) = (0, 0);
        while let Some(index) = next {
            // Every entry once at most (section 2.7.5.2), and none that is not
            // there.
            let descriptor = (index < entries && steps < entries)
                .then(|| self.read(table, index))
                .flatten();
            let Some((address, length, flags, following)) = descriptor else {
                found.push(Err(BadChain::Endless));
                break;
            };
            if flags & INDIRECT != 0 {
                // Section 2.7.5.3.1: no table in a table, and whole entries.
                // What the chain continues with is ignored.
                let whole = length % 16 == 0 && length / 16 <= u16::MAX.into();
                if !direct || !whole {
                    found.push(Err(BadChain::Endless));
                    break;
                }
                (table, entries, direct, next, steps) =
                    (address, u64::from(length / 16), false, Some(0), 0);
                continue;
            }
            steps += 1;
            total += u64::from(length);
            // Section 2.7.5.2: a chain has 2^32 bytes at most.
            if total > u32::MAX.into() {
                found.push(Err(BadChain::Endless));
                break;
            }
            if taken == self.most {
                found.push(Err(BadChain::Long { most: self.most }));
                break;
            }
            taken += 1;
            next = (flags & NEXT != 0).then_some(following.into());
            if length == 0 {
                continue;
            }
            let piece = self.piece(address, length, flags);
            let bad = piece.is_err();
            found.push(piece);
            if bad {
                break;
            }
        }
        found
    }

    fn piece(&self, address: u64, length: u32, flags: u16) -> Result<Piece, BadChain> {
        let access = if flags & WRITE != 0 {
            Access::Write
        } else {
            Access::Read
        };
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted != access) {
            return Err(BadChain::Direction { wanted });
        }
        let bytes = usize::try_from(length).unwrap();
        match address.checked_add(length.into()) {
            Some(end) if end <= MEMORY => Ok(Piece {
                address: GuestAddress(address),
                length: bytes,
                access,
            }),
            _ => Err(BadChain::NotMemory {
                address,
                length: bytes,
            }),
        }
    }

    fn read(&self, table: u64, index: u64) -> Option<(u64, u32, u16, u16)> {
        let address = table.checked_add(16 * index)?;
        let bytes: [u8; 16] = self.memory.read_obj(GuestAddress(address)).ok()?;
        let (address, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (flags, next) = rest.split_first_chunk()?;
        Some((
            u64::from_le_bytes(*address),
            u32::from_le_bytes(*length),
            u16::from_le_bytes(*flags),
            u16::from_le_bytes(*next.first_chunk()?),
        ))
    }
}
