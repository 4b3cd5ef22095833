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
mod job;
mod request;

use std::borrow::Cow;
use std::sync::Arc;

use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_bindings::virtio_ids::VIRTIO_ID_MEM;
use vm_memory::GuestMemoryMmap;

use self::blocks::Blocks;
use self::job::{Job, PORTION, Way};
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
    under_way: Option<UnderWay>,
    _sources: Sources,
}

/// A request without an answer yet.
struct UnderWay {
    /// Of its chain.
    head: u16,
    asked: Asked,
    job: Job,
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

    /// Answers one request, if there is one, or does a portion of what it asks.
    fn answer_one(&mut self) -> Result<Served, virtio_queue::Error> {
        let Some(mut running) = self.running.take() else {
            return Ok(Served::Quiet);
        };
        let served = self.answer_with(&mut running);
        self.running = Some(running);
        served
    }

    fn answer_with(&mut self, running: &mut Running) -> Result<Served, virtio_queue::Error> {
        running.ring.acknowledge();
        let under_way = match running.under_way.take() {
            None => self.next(running)?,
            under_way => under_way,
        };
        let Some(mut under_way) = under_way else {
            return Ok(Served::Quiet);
        };
        let Running { ring, memory, .. } = running;
        let Some(answer) = self.go_on(&mut under_way.job) else {
            running.under_way = Some(under_way);
            ring.call_again();
            return Ok(Served::Quiet);
        };
        let written = under_way.asked.answer(answer, memory);
        ring.give_back(memory, under_way.head, written)?;
        Ok(Served::ConfigRewritten)
    }

    fn next(&mut self, running: &mut Running) -> Result<Option<UnderWay>, virtio_queue::Error> {
        let Running { ring, memory, .. } = running;
        let Some(chain) = ring.take(memory)? else {
            if ring.rearm(memory)? {
                ring.call_again();
            }
            return Ok(None);
        };
        let head = chain.head_index();
        match Asked::read(Pieces::of(chain, memory, MOST_PIECES), memory) {
            Ok(asked) => {
                let job = self.begin(asked.request);
                Ok(Some(UnderWay { head, asked, job }))
            }
            Err(error) => {
                complaints::write(format_args!("request for memory is {error}"));
                ring.give_back(memory, head, 0)?;
                ring.show(memory)?;
                ring.tell(memory)?;
                ring.call_again();
                Ok(None)
            }
        }
    }

    fn begin(&self, request: Request) -> Job {
        let wanted = self.target.wanted();
        let allowed = match request {
            Request::Plug { address, count } => {
                let blocks = self.blocks.range(address, count);
                blocks.and_then(|blocks| {
                    self.blocks.may_plug(&blocks, wanted)?;
                    Ok(Job::new(Way::In, blocks))
                })
            }
            Request::Unplug { address, count } => {
                let blocks = self.blocks.range(address, count);
                blocks.and_then(|blocks| {
                    self.blocks.may_unplug(&blocks)?;
                    Ok(Job::new(Way::Out, blocks))
                })
            }
            Request::UnplugAll => Ok(Job::new(Way::Out, self.blocks.all())),
            Request::State { address, count } => {
                let blocks = self.blocks.range(address, count);
                blocks.map(|blocks| Job::done(Answer::State(self.blocks.state(&blocks))))
            }
            Request::Unknown => Err(blocks::Refusal::Error),
        };
        allowed.unwrap_or_else(|refusal| Job::done(Answer::Refused(refusal)))
    }

    /// A portion of it. The answer, if it was the last one: all blocks come, or
    /// none; those go that are plugged.
    fn go_on(&mut self, job: &mut Job) -> Option<Answer> {
        let mut room = PORTION;
        while let Some(block) = job.left.next() {
            if self.blocks.is_plugged(block) == (job.way == Way::In) {
                continue;
            }
            if room == 0 {
                job.left.start = block;
                break;
            }
            room -= 1;
            if let Err(error) = self.move_one(block, job.way) {
                complaints::write(format_args!("memory stays: {}", error::chain(&error)));
                job.give_up(block);
            }
        }
        self.target.has(self.blocks.plugged());
        job.left.is_empty().then_some(job.answer)
    }

    fn move_one(&mut self, block: usize, way: Way) -> Result<(), HostError> {
        match way {
            Way::In => self.host.plug(block)?,
            Way::Out => self.host.unplug(block)?,
        }
        self.blocks.set(block, way == Way::In);
        Ok(())
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
            under_way: None,
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
