//! Commands of the driver (virtio 1.2, section 5.1.6.5): how many pairs of
//! queues it uses. There is no other that the device offers.

use std::io;

use virtio_bindings::virtio_net as net;
use virtio_queue::{DescriptorChain, Error};
use vm_memory::{Bytes, GuestMemoryMmap};

use crate::complaints;
use crate::events::Sources;
use crate::virtio::chain::{Access, BadChain, Piece, Pieces};
use crate::virtio::ring::Ring;

/// Class, command, and the number of pairs.
const COMMAND: usize = 4;
/// Most pieces: each byte of a command, one more, and the answer.
const MOST_PIECES: usize = COMMAND + 2;

/// The queue of commands.
pub(super) struct Control {
    ring: Ring,
    memory: GuestMemoryMmap,
}

impl Control {
    pub(super) fn new(ring: Ring, memory: &GuestMemoryMmap) -> Self {
        Self {
            ring,
            memory: memory.clone(),
        }
    }

    pub(super) fn watch(&self, sources: &mut Sources, source: u16) -> io::Result<()> {
        self.ring.watch(sources, source)
    }

    /// Has `use_pairs` do what the driver wants, which answers whether it did.
    pub(super) fn serve(&mut self, mut use_pairs: impl FnMut(u16) -> bool) -> Result<(), Error> {
        let memory = &self.memory;
        self.ring.serve_all(memory, |chain| {
            let served = serve(chain, memory, &mut use_pairs);
            served.unwrap_or_else(|error| {
                complaints::write(format_args!("command to an interface is {error}"));
                0
            })
        })
    }
}

/// Bytes written: the answer.
fn serve(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
    use_pairs: &mut impl FnMut(u16) -> bool,
) -> Result<u32, BadChain> {
    let mut command = Vec::with_capacity(COMMAND + 1);
    let mut answer = None;
    for piece in Pieces::of(chain, memory, MOST_PIECES) {
        let piece = piece?;
        match piece.access {
            Access::Read => read(piece, memory, &mut command)?,
            Access::Write => answer = Some(piece.address),
        }
    }
    let answer = answer.ok_or(BadChain::Direction {
        wanted: Access::Write,
    })?;
    let acknowledgement = match pairs(&command).is_some_and(use_pairs) {
        true => net::VIRTIO_NET_OK,
        false => net::VIRTIO_NET_ERR,
    };
    let [byte, ..] = acknowledgement.to_le_bytes();
    match memory.write_obj(byte, answer) {
        Ok(()) => Ok(1),
        Err(_) => Err(BadChain::NotMemory {
            address: answer.0,
            length: 1,
        }),
    }
}

/// Of longer commands than there are, one byte more: they are refused as the
/// unknown ones that they are.
fn read(piece: Piece, memory: &GuestMemoryMmap, command: &mut Vec<u8>) -> Result<(), BadChain> {
    let start = command.len();
    let end = start.saturating_add(piece.length).min(COMMAND + 1);
    command.resize(end, 0);
    let room = command.get_mut(start..).unwrap_or_default();
    let read = memory.read_slice(room, piece.address);
    read.map_err(|_| BadChain::NotMemory {
        address: piece.address.0,
        length: piece.length,
    })
}

/// The number of pairs that `VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET` wants (section
/// 5.1.6.5.5.1).
fn pairs(command: &[u8]) -> Option<u16> {
    let &[class, command, low, high] = command else {
        return None;
    };
    let is_it = u32::from(class) == net::VIRTIO_NET_CTRL_MQ
        && u32::from(command) == net::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
    is_it.then_some(u16::from_le_bytes([low, high]))
}
