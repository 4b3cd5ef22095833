//! A descriptor chain, piece by piece. Nothing is taken for granted about what
//! the driver wrote (virtio 1.2, section 2.7.5).

use virtio_queue::DescriptorChain;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// What the device does with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads what the driver wrote.
    Read,
    /// It writes what the driver will read.
    Write,
}

/// A chain that no device can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChain {
    /// Part of it is not guest memory.
    #[error("a descriptor of {length} bytes at guest address {address:#x} is not memory")]
    NotMemory {
        /// Guest physical address.
        address: u64,
        /// Bytes.
        length: usize,
    },
    /// It has no end: a loop, a descriptor that is not there, a bad table.
    #[error("a chain of descriptors has no end")]
    Endless,
    /// It has more pieces than a device takes.
    #[error("a chain has more than {most} descriptors")]
    Long {
        /// How many would be taken.
        most: usize,
    },
    /// A piece is for writing in a chain to read from, or the other way round.
    #[error("a descriptor is not for the device to {}", match wanted {
        Access::Read => "read",
        Access::Write => "write",
    })]
    Direction {
        /// What the device has to do with it.
        wanted: Access,
    },
    /// It has room for less, or holds more, than makes sense.
    #[error("a chain of {bytes} bytes, which has to be {least} to {most}")]
    Size {
        /// Bytes that it has at least.
        bytes: usize,
        /// Fewest that make sense.
        least: usize,
        /// Most.
        most: usize,
    },
}

/// Part of a chain: guest memory, all of it in one region of RAM, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts.
    pub address: GuestAddress,
    /// Bytes, at least 1.
    pub length: usize,
    /// What the device may do with it.
    pub access: Access,
}

/// The pieces of a chain, in order. The first error is the last item.
pub struct Pieces<'m> {
    chain: DescriptorChain<&'m GuestMemoryMmap>,
    memory: &'m GuestMemoryMmap,
    wanted: Option<Access>,
    most: usize,
    taken: usize,
    /// Another descriptor has to follow, as the first follows the ring.
    open: bool,
    over: bool,
}

impl<'m> Pieces<'m> {
    /// Of a chain of at most `most` descriptors.
    #[must_use]
    pub fn of(
        chain: DescriptorChain<&'m GuestMemoryMmap>,
        memory: &'m GuestMemoryMmap,
        most: usize,
    ) -> Self {
        Self {
            chain,
            memory,
            wanted: None,
            most,
            taken: 0,
            open: true,
            over: false,
        }
    }

    /// All have to be for that.
    #[must_use]
    pub fn only(self, wanted: Access) -> Self {
        let wanted = Some(wanted);
        Self { wanted, ..self }
    }

    /// The next descriptor that is not empty. Empty ones are pointless, and
    /// forbidden to nobody.
    fn advance(&mut self) -> Result<Option<Piece>, BadChain> {
        for descriptor in self.chain.by_ref() {
            if self.taken == self.most {
                return Err(BadChain::Long { most: self.most });
            }
            self.taken += 1;
            self.open = descriptor.has_next();
            let piece = Piece {
                address: descriptor.addr(),
                length: usize::try_from(descriptor.len()).unwrap_or(usize::MAX),
                access: match descriptor.is_write_only() {
                    true => Access::Write,
                    false => Access::Read,
                },
            };
            if piece.length > 0 {
                return self.check(piece).map(Some);
            }
        }
        match self.open {
            true => Err(BadChain::Endless),
            false => Ok(None),
        }
    }

    fn check(&self, piece: Piece) -> Result<Piece, BadChain> {
        let wanted = self.wanted.unwrap_or(piece.access);
        if piece.access != wanted {
            return Err(BadChain::Direction { wanted });
        }
        // No two regions touch: see the layout of RAM.
        match self.memory.get_slice(piece.address, piece.length) {
            Ok(_) => Ok(piece),
            Err(_) => Err(BadChain::NotMemory {
                address: piece.address.0,
                length: piece.length,
            }),
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, BadChain>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests;
