//! A descriptor chain as a sequence of octets. Nothing is taken for granted
//! about how the guest cuts it into descriptors, the header included
//! (virtio 1.2, section 2.7.4).

use crate::state::packet::HEADER_LEN;
use virtio_queue::DescriptorChain;
use vm_memory::{GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};

/// A buffer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadChain {
    /// Part of it is not guest memory.
    #[error("a descriptor of {len} octets at guest address {address:#x} is not guest memory")]
    NotMemory {
        /// Guest physical address.
        address: u64,
        /// Octets.
        len: u32,
    },
    /// It is longer than the queue (section 2.7.5.3.1 forbids that).
    #[error("it has more than {} descriptors", super::MAX_SIZE)]
    TooLong,
    /// It has no room for a packet.
    #[error("it holds {len} octets, and a packet has at least {HEADER_LEN}")]
    Short {
        /// Octets.
        len: usize,
    },
}

/// The parts of one descriptor chain that can be read, or those that can be
/// written, in order.
#[derive(Debug)]
pub struct Buffer<'m> {
    slices: Vec<VolatileSlice<'m>>,
    len: usize,
}

/// Which parts of a chain are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Those that the device reads.
    Read,
    /// Those that the device writes.
    Write,
}

impl<'m> Buffer<'m> {
    /// The first `limit` octets of a chain.
    ///
    /// # Errors
    /// When it points outside of guest memory or has no room for a header and
    /// what `access` needs beyond it.
    pub fn of(
        chain: DescriptorChain<&'m GuestMemoryMmap>,
        memory: &'m GuestMemoryMmap,
        access: Access,
        limit: usize,
    ) -> Result<Self, BadChain> {
        let mut buffer = Self {
            slices: Vec::with_capacity(2),
            len: 0,
        };
        for (index, descriptor) in chain.enumerate() {
            if index >= super::MAX_SIZE {
                return Err(BadChain::TooLong);
            }
            if descriptor.is_write_only() != (access == Access::Write) || descriptor.len() == 0 {
                continue;
            }
            buffer.add(memory, descriptor.addr().0, descriptor.len(), access, limit)?;
            if buffer.len == limit {
                break;
            }
        }
        // A buffer to write to that has room for a header alone would stop the
        // data of every connection.
        let least = HEADER_LEN + usize::from(access == Access::Write);
        if buffer.len < least {
            return Err(BadChain::Short { len: buffer.len });
        }
        Ok(buffer)
    }

    fn add(
        &mut self,
        memory: &'m GuestMemoryMmap,
        address: u64,
        len: u32,
        access: Access,
        limit: usize,
    ) -> Result<(), BadChain> {
        let permissions = match access {
            Access::Read => Permissions::Read,
            Access::Write => Permissions::Write,
        };
        let not_memory = |_| BadChain::NotMemory { address, len };
        let wanted = usize::try_from(len)
            .unwrap_or(usize::MAX)
            .min(limit - self.len);
        let slices = memory.get_slices(vm_memory::GuestAddress(address), wanted, permissions);
        for slice in slices.map_err(not_memory)? {
            let slice = slice.map_err(not_memory)?;
            self.len += slice.len();
            self.slices.push(slice);
        }
        Ok(())
    }

    /// Octets behind the header.
    #[must_use]
    pub fn room(&self) -> usize {
        self.len - HEADER_LEN
    }

    /// A copy of the header. The guest may change its memory at any time, so
    /// it is read once.
    #[must_use]
    pub fn read_header(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let mut at = 0;
        for slice in self.window(0, HEADER_LEN) {
            at += slice.copy_to(&mut header[at..]);
        }
        header
    }

    /// Puts a header in its place.
    pub fn write_header(&self, header: &[u8; HEADER_LEN]) {
        let mut rest = header.as_slice();
        for slice in self.window(0, HEADER_LEN) {
            let (part, behind) = rest.split_at(slice.len());
            slice.copy_from(part);
            rest = behind;
        }
    }

    /// The first `len` octets behind the header.
    pub fn payload(&self, len: usize) -> impl Iterator<Item = VolatileSlice<'m>> {
        self.window(HEADER_LEN, len)
    }

    fn window(&self, from: usize, len: usize) -> impl Iterator<Item = VolatileSlice<'m>> {
        let (mut skip, mut left) = (from, len);
        self.slices.iter().filter_map(move |slice| {
            let start = skip.min(slice.len());
            let count = left.min(slice.len() - start);
            skip -= start;
            left -= count;
            slice.subslice(start, count).ok().filter(|s| !s.is_empty())
        })
    }
}

impl<'m> From<Vec<VolatileSlice<'m>>> for Buffer<'m> {
    /// A buffer that is not in a queue, at least as long as a header.
    fn from(slices: Vec<VolatileSlice<'m>>) -> Self {
        let len = slices.iter().map(VolatileSlice::len).sum();
        assert!(len >= HEADER_LEN, "a buffer without room for a header");
        Self { slices, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a packet is cut into pieces, header and payload come out
        /// the same.
        #[test]
        fn cuts_do_not_matter(
            mut bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN..400),
            cuts in proptest::collection::vec(0usize..80, 1..12),
            len in 0usize..400,
        ) {
            let whole = bytes.clone();
            let mut slices = Vec::new();
            let mut rest = bytes.as_mut_slice();
            for cut in cuts {
                let (part, behind) = rest.split_at_mut(cut.min(rest.len()));
                slices.push(VolatileSlice::from(part));
                rest = behind;
            }
            slices.push(VolatileSlice::from(rest));
            let buffer = Buffer::from(slices);

            let header = buffer.read_header();
            prop_assert_eq!(header.as_slice(), &whole[..HEADER_LEN]);
            let mut payload = Vec::new();
            for slice in buffer.payload(len) {
                let at = payload.len();
                payload.resize(at + slice.len(), 0);
                slice.copy_to(&mut payload[at..]);
            }
            let end = whole.len().min(HEADER_LEN + len);
            prop_assert_eq!(payload.as_slice(), &whole[HEADER_LEN..end]);

            let header: [u8; HEADER_LEN] = std::array::from_fn(|i| whole[i].wrapping_add(1));
            buffer.write_header(&header);
            prop_assert_eq!(buffer.read_header(), header);
        }
    }
}
