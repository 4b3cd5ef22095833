//! The data of a request, as the kernel reads and writes it: guest memory,
//! piece by piece, without a copy.

#![allow(unsafe_code)] // No slice of Rust's may stand for memory that the guest changes.

use std::sync::Arc;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use crate::virtio::chain::{BadChain, Piece};

/// What is written where nothing but zeros is to be. Never written to.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes of a step. Reads of what the host has in memory are done by the thread
/// that asks, and a driver may name the same memory many times in a request. More
/// than what Linux asks for at once.
pub(super) const MOST_AT_ONCE: usize = 2 << 20;

/// Pieces in order, of which some are done already.
pub(super) struct Vectors {
    /// Addresses in mappings that `memory` holds, or in `ZEROS`.
    all: Vec<libc::iovec>,
    start: usize,
    /// Behind those of the next step.
    end: usize,
    /// Bytes that the last of those was cut by.
    beyond: usize,
    /// Of all that are left, the next step's and later.
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
        let mut vectors = Self::empty(Some(Arc::clone(memory)));
        for piece in pieces {
            let slice = memory.get_slice(piece.address, piece.length);
            let slice = slice.map_err(|_| BadChain::NotMemory {
                address: piece.address.0,
                length: piece.length,
            })?;
            vectors.push(slice.ptr_guard_mut().as_ptr().cast(), slice.len());
        }
        vectors.cut();
        Ok(vectors)
    }

    /// `length` zeros, to write from.
    pub(super) fn zeros(length: u64) -> Self {
        let mut vectors = Self::empty(None);
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        while left > 0 {
            let now = left.min(ZEROS.len());
            vectors.push(ZEROS.as_ptr().cast_mut().cast(), now);
            left -= now;
        }
        vectors.cut();
        vectors
    }

    fn empty(memory: Option<Arc<GuestMemoryMmap>>) -> Self {
        Self {
            all: Vec::new(),
            start: 0,
            end: 0,
            beyond: 0,
            bytes: 0,
            _memory: memory,
        }
    }

    fn push(&mut self, iov_base: *mut libc::c_void, iov_len: usize) {
        self.all.push(libc::iovec { iov_base, iov_len });
        self.bytes = self.bytes.saturating_add(iov_len);
    }

    /// Of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of the next step. Whoever gives them to the kernel has to keep these
    /// vectors, as they are, until it has finished.
    pub(super) fn step(&self) -> &[libc::iovec] {
        self.all.get(self.start..self.end).unwrap_or_default()
    }

    /// The first `count` bytes are done.
    pub(super) fn advance(&mut self, count: usize) {
        self.mend();
        self.drop_first(count);
        self.cut();
    }

    /// The next step ends where it is long enough, in the middle of a piece maybe.
    fn cut(&mut self) {
        let mut room = MOST_AT_ONCE;
        self.end = self.start;
        while room > 0
            && let Some(vector) = self.all.get_mut(self.end)
        {
            self.end += 1;
            self.beyond = vector.iov_len.saturating_sub(room);
            vector.iov_len -= self.beyond;
            room -= vector.iov_len;
        }
    }

    /// Takes back what [`Self::cut`] did.
    fn mend(&mut self) {
        let beyond = std::mem::take(&mut self.beyond);
        let last = self.end.checked_sub(1);
        if let Some(last) = last.and_then(|last| self.all.get_mut(last)) {
            last.iov_len += beyond;
        }
    }

    fn drop_first(&mut self, count: usize) {
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
        vectors.step().iter().map(|vector| vector.iov_len).sum()
    }

    /// Bytes of each step until all is done.
    fn steps(mut vectors: Vectors) -> Vec<usize> {
        let mut steps = Vec::new();
        while vectors.bytes() > 0 {
            let step = total(&vectors);
            vectors.advance(step);
            steps.push(step);
        }
        steps
    }

    #[test]
    fn zeros_have_the_length_that_was_asked_for() {
        for length in [0, 1, 65536, 65537, 32 << 20] {
            let vectors = Vectors::zeros(length);
            assert!(vectors.all.len() <= 512);
            assert_eq!(steps(vectors).iter().sum::<usize>() as u64, length);
        }
    }

    #[test]
    fn a_step_is_no_longer_than_it_may_be() {
        const MIB: usize = 1 << 20;
        let memory = Arc::new(ram::allocate(64).unwrap());
        for (lengths, expected) in [
            (vec![MIB, MIB, MIB], vec![2 * MIB, MIB]),
            (vec![5 * MIB], vec![2 * MIB, 2 * MIB, MIB]),
            (vec![MIB, 4 * MIB + 7], vec![2 * MIB, 2 * MIB, MIB + 7]),
            (vec![MIB; 126], vec![2 * MIB; 63]),
        ] {
            let pieces = lengths.iter().map(|length| Piece {
                address: GuestAddress(1 << 20),
                length: *length,
                access: Access::Write,
            });
            let vectors = Vectors::new(&memory, pieces).unwrap();
            assert_eq!(steps(vectors), expected);
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
                let each = vectors.step().iter();
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
