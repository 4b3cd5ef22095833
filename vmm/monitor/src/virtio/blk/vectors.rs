//! The data of a request, as the kernel reads and writes it: guest memory,
//! piece by piece, without a copy.

#![allow(unsafe_code)] // No slice of Rust's may stand for memory that the guest changes.

use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use crate::virtio::chain::{BadChain, Piece};

/// What is written where nothing but zeros is to be. Never written to.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Pieces in order, of which some are done already.
pub(super) struct Vectors {
    /// Addresses in mappings that `memory` holds, or in `ZEROS`.
    all: Vec<libc::iovec>,
    start: usize,
    bytes: usize,
    /// Keeps the addresses what they are.
    _memory: Option<Arc<GuestMemoryMmap>>,
}

// SAFETY: the addresses are of shared mappings, which are the same in every
// thread, and `_memory` keeps them mapped; `ZEROS` always is.
unsafe impl Send for Vectors {}

impl Vectors {
    /// Of guest memory.
    pub(super) fn new(
        memory: &Arc<GuestMemoryMmap>,
        pieces: impl Iterator<Item = Piece>,
    ) -> Result<Self, BadChain> {
        let mut vectors = Self {
            all: Vec::new(),
            start: 0,
            bytes: 0,
            _memory: Some(Arc::clone(memory)),
        };
        for piece in pieces {
            let slice = memory.get_slice(piece.address, piece.length);
            let slice = slice.map_err(|_| BadChain::NotMemory {
                address: piece.address.0,
                length: piece.length,
            })?;
            vectors.push(slice.ptr_guard_mut().as_ptr().cast(), slice.len());
        }
        Ok(vectors)
    }

    /// `length` zeros, to write from.
    pub(super) fn zeros(length: u64) -> Self {
        let mut vectors = Self {
            all: Vec::new(),
            start: 0,
            bytes: 0,
            _memory: None,
        };
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        while left > 0 {
            let now = left.min(ZEROS.len());
            vectors.push(ZEROS.as_ptr().cast_mut().cast(), now);
            left -= now;
        }
        vectors
    }

    fn push(&mut self, iov_base: *mut libc::c_void, iov_len: usize) {
        self.all.push(libc::iovec { iov_base, iov_len });
        self.bytes = self.bytes.saturating_add(iov_len);
    }

    /// Of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those that are left. Whoever gives them to the kernel has to keep these
    /// vectors, as they are, until it has finished.
    pub(super) fn left(&self) -> &[libc::iovec] {
        self.all.get(self.start..).unwrap_or_default()
    }

    /// The first `count` bytes are done.
    pub(super) fn advance(&mut self, count: usize) {
        let mut count = count.min(self.bytes);
        self.bytes -= count;
        while let Some(first) = self.all.get_mut(self.start) {
            if count < first.iov_len {
                first.iov_base = first.iov_base.wrapping_byte_add(count);
                first.iov_len -= count;
                return;
            }
            count -= first.iov_len;
            self.start += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;
    use crate::virtio::chain::Access;
    use proptest::prelude::*;
    use vm_memory::GuestAddress;

    fn total(vectors: &Vectors) -> usize {
        vectors.left().iter().map(|vector| vector.iov_len).sum()
    }

    #[test]
    fn zeros_have_the_length_that_was_asked_for() {
        for length in [0, 1, 65536, 65537, 32 << 20] {
            let vectors = Vectors::zeros(length);
            assert_eq!(total(&vectors) as u64, length);
            assert!(vectors.left().len() <= 512);
        }
    }

    proptest! {
        /// Against addresses byte by byte.
        #[test]
        fn what_is_done_goes_from_the_front(
            lengths in proptest::collection::vec(1_usize..50, 1..20),
            steps in proptest::collection::vec(0_usize..60, 1..30),
        ) {
            let memory = Arc::new(ram::allocate(64).unwrap());
            let pieces = (1_u64..).zip(&lengths).map(|(number, length)| Piece {
                address: GuestAddress(number << 12),
                length: *length,
                access: Access::Read,
            });
            let mut vectors = Vectors::new(&memory, pieces).unwrap();
            let addresses = |vectors: &Vectors| -> Vec<usize> {
                let each = vectors.left().iter();
                each.flat_map(|v| (0..v.iov_len).map(|at| v.iov_base.addr() + at)).collect()
            };
            let mut model = addresses(&vectors);
            for step in steps {
                vectors.advance(step);
                model.drain(..step.min(model.len()));
                prop_assert_eq!(&addresses(&vectors), &model);
                prop_assert_eq!(vectors.bytes(), model.len());
            }
        }
    }
}
