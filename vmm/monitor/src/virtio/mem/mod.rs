//! Memory that comes and goes in blocks (virtio 1.2, section 5.15), while the
//! guest runs.
//!
//! ```text
//! shim  ── wanted ──> device ── requested_size, interrupt ──> driver
//! host <── plug, unplug ── device <── PLUG, UNPLUG of blocks ── driver
//! ```
//!
//! The driver decides which blocks, the shim how many. A block that is not
//! plugged is nowhere in the guest's address space.

mod blocks;
mod request;

use std::borrow::Cow;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_bindings::virtio_ids::VIRTIO_ID_MEM;
use vm_memory::GuestMemoryMmap;

use self::blocks::{Blocks, Range};
use self::request::{Answer, Asked, Request};
use super::chain::Pieces;
use super::device::{Device, DeviceError, Served, Start};
use super::ring::Ring;
use super::target::Target;
use crate::complaints;
use crate::error;
use crate::events::{Interest, Sources};

pub use blocks::BLOCK;

const NAME: &str = "mem";
/// Linux has one request at a time.
const QUEUE_SIZE: u16 = 16;
const MOST_PIECES: usize = QUEUE_SIZE as usize;

/// Memory that is not plugged is not to be read either (section 5.15.3).
const UNPLUGGED_INACCESSIBLE: u32 = 1;

/// Sources of events.
const REQUESTS: u16 = 0;
const TARGET: u16 = 1;

/// Gives the guest a block of memory, and takes it away.
pub trait Host: Send {
    /// It has block `block` of the region, all zero.
    ///
    /// # Errors
    /// When it does not.
    fn plug(&mut self, block: usize) -> Result<(), HostError>;

    /// It has the block no more, and the host its memory.
    ///
    /// # Errors
    /// When the guest keeps it.
    fn unplug(&mut self, block: usize) -> Result<(), HostError>;
}

/// A block stays what it is.
#[derive(Debug, thiserror::Error)]
#[error("{step} block {block}")]
pub struct HostError {
    /// What was attempted.
    pub step: &'static str,
    /// With which block.
    pub block: usize,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// The device.
pub struct Mem {
    blocks: Blocks,
    target: Arc<Target>,
    host: Box<dyn Host>,
    running: Option<Running>,
}

struct Running {
    ring: Ring,
    memory: GuestMemoryMmap,
    _sources: Sources,
}

impl Mem {
    /// For `bytes` of guest addresses from `start` on.
    #[must_use]
    pub fn new(start: u64, bytes: u64, target: Arc<Target>, host: Box<dyn Host>) -> Self {
        Self {
            blocks: Blocks::new(start, bytes),
            target,
            host,
            running: None,
        }
    }

    /// Answers one request, if there is one.
    fn answer_one(&mut self) -> Result<Served, virtio_queue::Error> {
        let Some(mut running) = self.running.take() else {
            return Ok(Served::Quiet);
        };
        let served = self.answer_with(&mut running);
        self.running = Some(running);
        served
    }

    fn answer_with(&mut self, running: &mut Running) -> Result<Served, virtio_queue::Error> {
        let Running { ring, memory, .. } = running;
        ring.acknowledge();
        let Some(chain) = ring.take(memory)? else {
            if ring.rearm(memory)? {
                ring.call_again();
            }
            return Ok(Served::Quiet);
        };
        let head = chain.head_index();
        let written = match Asked::read(Pieces::of(chain, memory, MOST_PIECES), memory) {
            Ok(asked) => asked.answer(self.carry_out(asked.request), memory),
            Err(error) => {
                complaints::write(format_args!("request for memory is {error}"));
                0
            }
        };
        ring.give_back(memory, head, written)?;
        Ok(Served::ConfigRewritten)
    }

    fn carry_out(&mut self, request: Request) -> Answer {
        let answer = match request {
            Request::Plug { address, count } => self.plug(address, count),
            Request::Unplug { address, count } => self.unplug(address, count),
            Request::UnplugAll => self.take_all(self.blocks.all()),
            Request::State { address, count } => match self.blocks.range(address, count) {
                Ok(blocks) => Answer::State(self.blocks.state(&blocks)),
                Err(refusal) => Answer::Refused(refusal),
            },
            Request::Unknown => Answer::Refused(blocks::Refusal::Error),
        };
        self.target.has(self.blocks.plugged());
        answer
    }

    fn plug(&mut self, address: u64, count: u16) -> Answer {
        let wanted = self.target.wanted();
        let allowed = self.blocks.range(address, count).and_then(|blocks| {
            self.blocks.may_plug(&blocks, wanted)?;
            Ok(blocks)
        });
        match allowed {
            Ok(blocks) => self.give_all(blocks),
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn unplug(&mut self, address: u64, count: u16) -> Answer {
        let allowed = self.blocks.range(address, count).and_then(|blocks| {
            self.blocks.may_unplug(&blocks)?;
            Ok(blocks)
        });
        match allowed {
            Ok(blocks) => self.take_all(blocks),
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    /// All or none.
    fn give_all(&mut self, blocks: Range) -> Answer {
        for block in blocks.clone() {
            if let Err(error) = self.host.plug(block) {
                complaints::write(format_args!("no memory comes: {}", error::chain(&error)));
                self.take_all(blocks.start..block);
                return Answer::Busy;
            }
            self.blocks.set(block, true);
        }
        Answer::Done
    }

    /// Those that are plugged.
    fn take_all(&mut self, blocks: Range) -> Answer {
        for block in blocks
            .filter(|block| self.blocks.is_plugged(*block))
            .collect::<Vec<_>>()
        {
            if let Err(error) = self.host.unplug(block) {
                complaints::write(format_args!("no memory goes: {}", error::chain(&error)));
                return Answer::Busy;
            }
            self.blocks.set(block, false);
        }
        Answer::Done
    }
}

impl Device for Mem {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_MEM
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(1 << UNPLUGGED_INACCESSIBLE | 1 << VIRTIO_RING_F_EVENT_IDX)
    }

    /// Block size, node, address, region, the part of it that may be used (all),
    /// plugged, requested (section 5.15.4).
    fn config(&self) -> Cow<'_, [u8]> {
        let (start, bytes) = (self.blocks.start(), self.blocks.bytes());
        let (plugged, wanted) = (self.blocks.plugged(), self.target.wanted());
        let fields = [BLOCK, 0, start, bytes, bytes, plugged, wanted];
        Cow::Owned(
            fields
                .iter()
                .flat_map(|field| field.to_le_bytes())
                .collect(),
        )
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let mut sources = start.sources;
        let Some(queue) = start.queues.into_iter().next().flatten() else {
            return Ok(());
        };
        let ring = Ring::new(queue, start.interrupt);
        ring.watch(&mut sources, REQUESTS)
            .and_then(|()| sources.watch(self.target.event(), TARGET, Interest::Readable))
            .map_err(|source| DeviceError::Events {
                device: NAME,
                source,
            })?;
        self.running = Some(Running {
            ring,
            memory: start.memory,
            _sources: sources,
        });
        Ok(())
    }

    fn serve(&mut self, source: u16) -> Result<Served, DeviceError> {
        if source == TARGET {
            self.target.acknowledge();
            return Ok(Served::ConfigChanged);
        }
        match self.answer_one() {
            Ok(served) => Ok(served),
            Err(_) => Ok(Served::broken(&mut self.running)),
        }
    }

    /// The driver compares what it counts with what it reads: it has to see the
    /// configuration before the answer.
    fn config_shown(&mut self) -> Result<Served, DeviceError> {
        let Some(Running { ring, memory, .. }) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        let shown = ring.show(memory).and_then(|()| ring.tell(memory));
        // Whatever else is available comes by the next event.
        ring.call_again();
        match shown {
            Ok(()) => Ok(Served::Quiet),
            Err(_) => Ok(Served::broken(&mut self.running)),
        }
    }

    /// Blocks stay what they are (section 5.15.6.1): the driver asks for their
    /// state, or takes them all out, when it comes back.
    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
