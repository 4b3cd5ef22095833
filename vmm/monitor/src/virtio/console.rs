//! The console device (virtio 1.2, section 5.3): one port, from the guest to
//! the host. What the host would type nobody reads.
//!
//! It takes a line in one notification, for which a serial port has to leave
//! the guest at each byte. The kernel's own console is still the serial port:
//! that one is there before any driver is.

use std::borrow::Cow;
use std::io::Write;

use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::chain::{Access, BadChain, Piece, Pieces};
use super::device::{Device, DeviceError, Served, Start};
use super::ring::Ring;
use crate::complaints;
use crate::events::Sources;
use crate::ports;

const NAME: &str = "console";
const QUEUE_SIZE: u16 = 64;
/// The queues of port 0 (section 5.3.2): to the guest, which gets nothing, and
/// from it.
const QUEUE_SIZES: [u16; 2] = [QUEUE_SIZE; 2];
const TRANSMIT: usize = 1;

/// Most pieces of a chain.
const MOST_PIECES: usize = QUEUE_SIZE as usize;
/// Most bytes of a chain; Linux sends a page at most. A guest could otherwise
/// have all its memory copied, many times over, by one notification.
const MOST_BYTES: usize = 64 << 10;
/// Bytes copied at once.
const PORTION: usize = 1024;

/// The device.
pub struct Console {
    output: ports::Console,
    running: Option<Running>,
}

struct Running {
    transmit: Ring,
    memory: GuestMemoryMmap,
    _sources: Sources,
}

impl Console {
    /// That writes to `output`, whose descriptor may be the serial port's.
    #[must_use]
    pub fn new(output: ports::Console) -> Self {
        Self {
            output,
            running: None,
        }
    }
}

impl Device for Console {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(1 << VIRTIO_RING_F_EVENT_IDX)
    }

    /// Without its features, no field means anything (section 5.3.4).
    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&[])
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let mut sources = start.sources;
        let Some(ready) = start.queues.into_iter().nth(TRANSMIT).flatten() else {
            return Ok(());
        };
        let transmit = Ring::new(ready, start.interrupt);
        let watched = transmit.watch(&mut sources, 0);
        watched.map_err(|source| DeviceError::Events {
            device: NAME,
            source,
        })?;
        self.running = Some(Running {
            transmit,
            memory: start.memory,
            _sources: sources,
        });
        Ok(())
    }

    fn serve(&mut self, _source: u16) -> Result<Served, DeviceError> {
        let Some(running) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        let served = running.serve(&mut self.output);
        // A prompt has no end of line, and is to be seen.
        self.output.flush_line();
        match served {
            Ok(()) => Ok(Served::Quiet),
            Err(_) => Ok(Served::broken(&mut self.running)),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        Ok(())
    }
}

impl Running {
    fn serve(&mut self, output: &mut impl Write) -> Result<(), virtio_queue::Error> {
        let memory = &self.memory;
        self.transmit.serve_all(memory, |chain| {
            if let Err(error) = copy(chain, memory, output) {
                complaints::write(format_args!("console output is {error}"));
            }
            0
        })
    }
}

fn copy(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
    output: &mut impl Write,
) -> Result<(), BadChain> {
    let mut total = 0_usize;
    for piece in Pieces::of(chain, memory, MOST_PIECES).only(Access::Read) {
        let piece = piece?;
        total = total.saturating_add(piece.length);
        if total > MOST_BYTES {
            return Err(BadChain::Size {
                bytes: total,
                least: 0,
                most: MOST_BYTES,
            });
        }
        copy_piece(piece, memory, output)?;
    }
    Ok(())
}

fn copy_piece(
    piece: Piece,
    memory: &GuestMemoryMmap,
    output: &mut impl Write,
) -> Result<(), BadChain> {
    let mut portion = [0; PORTION];
    let (mut address, mut left) = (piece.address, piece.length);
    while left > 0 {
        let room = portion.get_mut(..left.min(PORTION)).unwrap_or_default();
        // The piece is in memory: it reads as much as there is room for.
        let read = memory.read(room, address).unwrap_or(0);
        if read == 0 {
            return Err(BadChain::NotMemory {
                address: address.0,
                length: left,
            });
        }
        // It takes everything: what its reader has no room for is counted.
        let _ = output.write_all(room.get(..read).unwrap_or_default());
        address.0 += read as u64;
        left -= read;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
