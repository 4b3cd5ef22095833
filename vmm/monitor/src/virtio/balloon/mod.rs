//! The memory balloon (virtio 1.2, section 5.5): what the guest does not need
//! goes back to the host.
//!
//! Mostly by free page reporting: the guest tells by itself what it has freed,
//! and may use it again at any time. What it gives when it is asked to, page by
//! page, it may take back as it likes, too: no page is ever lost to it, it only
//! finds zeros there.
//!
//! How much it is asked to give is the shim's to say ([`Target`]). A guest that
//! has none left takes pages back by itself.

mod numbers;

use std::borrow::Cow;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use virtio_queue::DescriptorChain;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use self::numbers::Numbers;
use super::chain::{Access, BadChain, Pieces};
use super::device::{Device, DeviceError, Served, Start};
use super::ring::Ring;
use super::target::Target;
use crate::complaints;
use crate::error;
use crate::events::{Interest, Sources};
use crate::memory::release::{PAGE, release};

const NAME: &str = "balloon";

/// Linux reports 32 ranges at once, and not at all in a queue of fewer entries.
const QUEUE_SIZE: u16 = 128;
/// Most pieces of a chain.
const MOST_PIECES: usize = QUEUE_SIZE as usize;

/// Feature bits (virtio 1.2, section 5.5.3).
const DEFLATE_ON_OOM: u32 = 2;
const PAGE_POISON: u32 = 4;
const REPORTING: u32 = 5;
const OFFERED: [u32; 4] = [
    DEFLATE_ON_OOM,
    PAGE_POISON,
    REPORTING,
    VIRTIO_RING_F_EVENT_IDX,
];

/// Fields of the configuration: pages that the balloon is to have; what a driver
/// writes, pages that it has, and the value that it fills free pages with
/// (section 5.5.4).
const WANTED: std::ops::Range<usize> = 0..4;
const ACTUAL: std::ops::Range<usize> = 4..8;
const POISON: std::ops::Range<usize> = 12..16;

/// Source of what the shim wants; those before it are queues.
const TARGET: u16 = 3;

/// What a queue is for, by number. Those of statistics and of free page hints
/// would be between them (section 5.5.2); without these features Linux leaves
/// no gap, nor does any device that it knows.
const QUEUES: [Use; 3] = [Use::Inflate, Use::Deflate, Use::Report];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Numbers of pages that the guest gives.
    Inflate,
    /// Numbers of pages that it takes back.
    Deflate,
    /// Pages that are free for now.
    Report,
}

/// The device.
pub struct Balloon {
    config: [u8; 16],
    target: Arc<Target>,
    running: Option<Running>,
}

struct Running {
    rings: Vec<Option<Ring>>,
    memory: GuestMemoryMmap,
    poisons: bool,
    _sources: Sources,
}

impl Balloon {
    /// That holds nothing, until `target` wants it to.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Self {
        Self {
            config: [0; 16],
            target,
            running: None,
        }
    }

    fn show_wanted(&mut self) {
        let pages = u32::try_from(self.target.wanted() / PAGE).unwrap_or(u32::MAX);
        if let Some(field) = self.config.get_mut(WANTED) {
            field.copy_from_slice(&pages.to_le_bytes());
        }
    }

    fn note_actual(&self) {
        let field = self.config.get(ACTUAL).and_then(<[u8]>::first_chunk);
        let pages = field.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        self.target.has(u64::from(pages) * PAGE);
    }

    /// Whether the driver expects something else than zeros in pages that it
    /// has reported: they have to stay what they are then (section 5.5.6.7).
    fn is_poisoned(&self) -> bool {
        let poison = self.config.get(POISON).unwrap_or_default();
        poison.iter().any(|byte| *byte != 0)
    }
}

impl Device for Balloon {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE; QUEUES.len()]
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(OFFERED.iter().fold(0, |bits, feature| bits | 1 << feature))
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.config)
    }

    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        for (at, cell) in self.config.iter_mut().enumerate() {
            let byte = at.checked_sub(offset).and_then(|index| bytes.get(index));
            if let Some(byte) = byte
                && (ACTUAL.contains(&at) || POISON.contains(&at))
            {
                *cell = *byte;
            }
        }
        self.note_actual();
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let mut sources = start.sources;
        let queues = start.queues.into_iter();
        let rings: Vec<_> = queues
            .map(|queue| queue.map(|ready| Ring::new(ready, start.interrupt.clone())))
            .collect();
        for (source, ring) in (0..).zip(&rings) {
            let watched = ring.as_ref().map(|ring| ring.watch(&mut sources, source));
            watched.transpose().map_err(|source| DeviceError::Events {
                device: NAME,
                source,
            })?;
        }
        sources
            .watch(self.target.event(), TARGET, Interest::Readable)
            .map_err(|source| DeviceError::Events {
                device: NAME,
                source,
            })?;
        self.running = Some(Running {
            rings,
            memory: start.memory,
            poisons: start.features >> PAGE_POISON & 1 == 1,
            _sources: sources,
        });
        Ok(())
    }

    fn serve(&mut self, source: u16) -> Result<Served, DeviceError> {
        if source == TARGET {
            self.target.acknowledge();
            self.show_wanted();
            return Ok(Served::ConfigChanged);
        }
        let is_poisoned = self.is_poisoned();
        let Some(running) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        match running.serve(usize::from(source), is_poisoned) {
            Ok(()) => Ok(Served::Quiet),
            Err(_) => Ok(Served::broken(&mut self.running)),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        self.config = Default::default();
        self.show_wanted();
        self.note_actual();
        Ok(())
    }
}

impl Running {
    fn serve(&mut self, queue: usize, is_poisoned: bool) -> Result<(), virtio_queue::Error> {
        let keeps_content = self.poisons && is_poisoned;
        let (Some(Some(ring)), Some(usage)) = (self.rings.get_mut(queue), QUEUES.get(queue)) else {
            return Ok(());
        };
        let memory = &self.memory;
        ring.serve_at_cost(memory, |chain| {
            let mut gift = Gift { memory, calls: 0 };
            let served = match usage {
                Use::Inflate => inflate(chain, &mut gift),
                Use::Report if !keeps_content => report(chain, &mut gift),
                Use::Report | Use::Deflate => Ok(()),
            };
            if let Err(error) = served {
                complaints::write(format_args!("list of free memory is {error}"));
            }
            (0, gift.calls)
        })
    }
}

fn inflate(chain: DescriptorChain<&GuestMemoryMmap>, gift: &mut Gift<'_>) -> Result<(), BadChain> {
    let numbers = Numbers::read(Pieces::of(chain, gift.memory, MOST_PIECES), gift.memory)?;
    for (first, count) in numbers.runs() {
        gift.give(GuestAddress(first * PAGE), count * PAGE);
    }
    Ok(())
}

fn report(chain: DescriptorChain<&GuestMemoryMmap>, gift: &mut Gift<'_>) -> Result<(), BadChain> {
    for piece in Pieces::of(chain, gift.memory, MOST_PIECES).only(Access::Write) {
        let piece = piece?;
        gift.give(piece.address, piece.length as u64);
    }
    Ok(())
}

/// Memory that a chain gives. What is not together takes a call of the kernel's
/// each, and a driver may give a thousand pages that are not.
struct Gift<'a> {
    memory: &'a GuestMemoryMmap,
    calls: usize,
}

impl Gift<'_> {
    fn give(&mut self, address: GuestAddress, bytes: u64) {
        self.calls += 1;
        if let Err(error) = release(self.memory, address, bytes) {
            complaints::write(format_args!("free memory stays: {}", error::chain(&error)));
        }
    }
}

#[cfg(test)]
mod tests;
