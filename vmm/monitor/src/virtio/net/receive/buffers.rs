//! Buffers that the guest gave, in the order in which it gave them.

use std::collections::VecDeque;

use virtio_queue::DescriptorChain;
use vm_memory::GuestMemoryMmap;

use super::Manner;
use crate::virtio::chain::{Access, BadChain, Piece, Pieces};
use crate::virtio::net::packet::HEADER;
use crate::virtio::net::vectors::{MOST, Vectors};

/// Most pieces of one buffer: a queue's worth, and no driver needs more than
/// 19 (a page each for 64 KiB, headers, a part at each end).
const MOST_PIECES: usize = MOST / 2;

/// A buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) head: u16,
    pub(super) bytes: usize,
    pieces: usize,
}

/// What became of a chain.
#[derive(Debug)]
pub(super) enum Added {
    Buffer,
    Refused(BadChain),
}

/// Buffers for the next packets. Never more than one packet may need, so that
/// a call has few vectors to look at.
pub(super) struct Buffers {
    pub(super) vectors: Vectors,
    buffers: VecDeque<Buffer>,
    manner: Manner,
}

impl Buffers {
    pub(super) fn new(memory: &GuestMemoryMmap, manner: Manner) -> Self {
        Self {
            vectors: Vectors::new(memory.clone()),
            buffers: VecDeque::new(),
            manner,
        }
    }

    /// Whether a packet can be read. With less than the longest needs only if
    /// there is no way to get more: a queue of `entries` holds no more buffers,
    /// or they are in too many pieces.
    pub(super) fn suffice(&self, entries: u16) -> bool {
        match self.manner.merges {
            false => !self.buffers.is_empty(),
            true => {
                self.vectors.bytes() >= self.manner.longest
                    || self.buffers.len() >= usize::from(entries)
                    || self.vectors.len() > MOST - MOST_PIECES
            }
        }
    }

    /// Adds the buffer that `chain` is.
    pub(super) fn add(
        &mut self,
        chain: DescriptorChain<&GuestMemoryMmap>,
        memory: &GuestMemoryMmap,
    ) -> Added {
        let head = chain.head_index();
        let before = (self.vectors.len(), self.vectors.bytes());
        match self.add_pieces(Pieces::of(chain, memory, MOST_PIECES), before.1) {
            Ok(()) => {
                self.buffers.push_back(Buffer {
                    head,
                    bytes: self.vectors.bytes() - before.1,
                    pieces: self.vectors.len() - before.0,
                });
                Added::Buffer
            }
            Err(error) => {
                self.vectors.truncate(before.0);
                Added::Refused(error)
            }
        }
    }

    /// What no packet can fill is left out, however large the driver's pieces.
    fn add_pieces(&mut self, pieces: Pieces<'_>, before: usize) -> Result<(), BadChain> {
        let most = self.manner.longest;
        for piece in pieces.only(Access::Write) {
            let piece = piece?;
            let length = piece.length.min(most + before - self.vectors.bytes());
            self.vectors.push(Piece { length, ..piece })?;
            if self.vectors.bytes() - before >= most {
                break;
            }
        }
        match self.vectors.bytes() - before {
            bytes if bytes >= HEADER => Ok(()),
            bytes => Err(BadChain::Size {
                bytes,
                least: HEADER,
                most,
            }),
        }
    }

    /// How many of the buffers a packet of `bytes` is in.
    pub(super) fn holding(&self, bytes: usize) -> u16 {
        let (mut left, mut count) = (bytes, 0);
        for buffer in &self.buffers {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(buffer.bytes);
            count += 1;
        }
        count
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Buffer> {
        let buffer = self.buffers.pop_front()?;
        self.vectors.drop_first(buffer.pieces);
        Some(buffer)
    }
}
