//! The two sides of a request's chain. Where one part of it ends and the next
//! begins has nothing to do with descriptors (virtio 1.2, section 2.7.4.1).

use virtio_queue::DescriptorChain;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

use super::QUEUE_SIZE;
use crate::virtio::chain::{Access, BadChain, Piece, Pieces};

const MOST: usize = QUEUE_SIZE as usize;

/// Pieces in order.
#[derive(Default)]
pub(super) struct Side(Vec<Piece>);

/// A chain in its sides: what the device reads comes first (virtio 1.2, section
/// 2.7.4.2).
pub(super) fn sides(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
) -> Result<(Side, Side), BadChain> {
    let (mut readable, mut writable) = (Side::default(), Side::default());
    for piece in Pieces::of(chain, memory, MOST) {
        let piece = piece?;
        match piece.access {
            Access::Write => writable.0.push(piece),
            Access::Read if writable.0.is_empty() => readable.0.push(piece),
            Access::Read => {
                let wanted = Access::Write;
                return Err(BadChain::Direction { wanted });
            }
        }
    }
    Ok((readable, writable))
}

impl Side {
    /// Bytes of all pieces.
    pub(super) fn bytes(&self) -> usize {
        let lengths = self.0.iter().map(|piece| piece.length);
        lengths.fold(0, usize::saturating_add)
    }

    pub(super) fn pieces(self) -> impl Iterator<Item = Piece> {
        self.0.into_iter()
    }

    /// Takes the last byte off.
    pub(super) fn take_last(&mut self) -> Option<GuestAddress> {
        let last = self.0.last_mut()?;
        last.length -= 1;
        let address = last.address.unchecked_add(last.length as u64);
        if last.length == 0 {
            self.0.pop();
        }
        Some(address)
    }

    /// Takes `into.len()` bytes off the front, if there are so many.
    pub(super) fn take_front(&mut self, memory: &GuestMemoryMmap, into: &mut [u8]) -> Option<()> {
        let mut rest = into;
        let mut used = 0;
        for piece in &mut self.0 {
            let now = piece.length.min(rest.len());
            let (part, later) = rest.split_at_mut(now);
            memory.read_slice(part, piece.address).ok()?;
            piece.address = piece.address.unchecked_add(now as u64);
            piece.length -= now;
            rest = later;
            if piece.length > 0 {
                break;
            }
            used += 1;
        }
        self.0.drain(..used);
        rest.is_empty().then_some(())
    }

    /// Writes `bytes` at the front, as far as there is room. Bytes written.
    pub(super) fn fill(&self, memory: &GuestMemoryMmap, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        for piece in &self.0 {
            let (now, later) = rest.split_at(piece.length.min(rest.len()));
            if memory.write_slice(now, piece.address).is_err() {
                break;
            }
            rest = later;
        }
        bytes.len() - rest.len()
    }
}
