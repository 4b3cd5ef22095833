//! Pieces of guest memory as readv(2) and writev(2) take them.

#![allow(unsafe_code)] // No slice of Rust's may stand for memory that the guest changes.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use crate::virtio::chain::{BadChain, Piece};

/// Most pieces at once. The kernel takes 1024 in a call (`UIO_MAXIOV`).
pub(super) const MOST: usize = 512;

/// Room for pieces, and for those that are used already until they are so many
/// that removing them is worth moving the others.
const ROOM: usize = 2 * MOST;

/// What a call read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes, all in the pieces.
    pub(super) bytes: usize,
    /// There was more, and it is lost.
    pub(super) cut: bool,
}

/// Pieces in order. Takes all its memory at its first use, and no more later.
pub(super) struct Vectors {
    memory: GuestMemoryMmap,
    /// Addresses in mappings that `memory` holds.
    all: Vec<libc::iovec>,
    start: usize,
    bytes: usize,
}

// SAFETY: the addresses are of shared mappings, which are the same in every
// thread, and `memory` keeps them mapped.
unsafe impl Send for Vectors {}

impl Vectors {
    pub(super) fn new(memory: GuestMemoryMmap) -> Self {
        Self {
            memory,
            all: Vec::with_capacity(ROOM + 1),
            start: 0,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.start
    }

    /// Of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.start = 0;
        self.bytes = 0;
    }

    /// Adds a piece, as far as there is room.
    pub(super) fn push(&mut self, piece: Piece) -> Result<(), BadChain> {
        if self.len() == MOST {
            return Err(BadChain::Long { most: MOST });
        }
        let slice = self.memory.get_slice(piece.address, piece.length);
        let slice = slice.map_err(|_| BadChain::NotMemory {
            address: piece.address.0,
            length: piece.length,
        })?;
        let vector = libc::iovec {
            iov_base: slice.ptr_guard_mut().as_ptr().cast(),
            iov_len: slice.len(),
        };
        if self.all.len() == ROOM {
            self.all.drain(..self.start);
            self.start = 0;
        }
        self.all.push(vector);
        self.bytes = self.bytes.saturating_add(piece.length);
        Ok(())
    }

    /// Removes all but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        while self.len() > len {
            if let Some(last) = self.all.pop() {
                self.bytes = self.bytes.saturating_sub(last.iov_len);
            }
        }
    }

    /// Removes the first `count`.
    pub(super) fn drop_first(&mut self, count: usize) {
        let count = count.min(self.len());
        let gone: usize = self.live().iter().take(count).map(|v| v.iov_len).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        self.start += count;
        if self.start == self.all.len() {
            self.clear();
        }
    }

    fn live(&self) -> &[libc::iovec] {
        self.all.get(self.start..).unwrap_or_default()
    }

    /// Reads one packet into the pieces. `fd` has to give packets one by one:
    /// what of one has no room is gone.
    pub(super) fn read_from(&mut self, fd: BorrowedFd<'_>) -> nix::Result<Received> {
        // One byte that is not the guest's: only a packet without room for all
        // of it gets there.
        let mut beyond = 0_u8;
        self.all.push(libc::iovec {
            iov_base: (&raw mut beyond).cast(),
            iov_len: 1,
        });
        let live = self.live();
        // SAFETY: each vector but the last is a slice of guest memory, which
        // stays mapped for as long as this is, and where anybody may write at
        // any time; the last is `beyond`.
        let read = unsafe { libc::readv(fd.as_raw_fd(), live.as_ptr(), count(live)) };
        self.all.pop();
        let read = length(read)?;
        Ok(Received {
            bytes: read.min(self.bytes),
            cut: read > self.bytes,
        })
    }

    /// Writes the pieces as one packet.
    pub(super) fn write_to(&self, fd: BorrowedFd<'_>) -> nix::Result<usize> {
        let live = self.live();
        // SAFETY: each vector is a slice of guest memory, which stays mapped
        // for as long as this is. The kernel copes with its changing meanwhile.
        length(unsafe { libc::writev(fd.as_raw_fd(), live.as_ptr(), count(live)) })
    }

    /// Puts `bytes` into the pieces, `offset` bytes from the start.
    pub(super) fn put(&self, offset: usize, bytes: &[u8]) {
        let (mut skip, mut rest) = (offset, bytes);
        for vector in self.live() {
            // SAFETY: as above; nothing else of the slice's life is used.
            let slice = unsafe { VolatileSlice::new(vector.iov_base.cast(), vector.iov_len) };
            if let Ok(slice) = slice.offset(skip) {
                let (now, later) = rest.split_at(slice.len().min(rest.len()));
                slice.copy_from(now);
                rest = later;
            }
            if rest.is_empty() {
                break;
            }
            skip = skip.saturating_sub(vector.iov_len);
        }
    }
}

fn count(vectors: &[libc::iovec]) -> libc::c_int {
    libc::c_int::try_from(vectors.len()).unwrap_or(libc::c_int::MAX)
}

fn length(result: libc::ssize_t) -> nix::Result<usize> {
    let length = Errno::result(result)?;
    usize::try_from(length).map_err(|_| Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;
    use crate::virtio::chain::Access;
    use proptest::prelude::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use vm_memory::{Bytes, GuestAddress};

    fn piece(address: u64, length: usize) -> Piece {
        Piece {
            address: GuestAddress(address),
            length,
            access: Access::Write,
        }
    }

    /// Pieces of these lengths, one behind the other from 1 MiB on.
    fn vectors(memory: &GuestMemoryMmap, lengths: &[usize]) -> Vectors {
        let mut vectors = Vectors::new(memory.clone());
        let mut address = 1 << 20;
        for length in lengths {
            vectors.push(piece(address, *length)).unwrap();
            address += *length as u64;
        }
        vectors
    }

    #[test]
    fn a_packet_that_fits_exactly_is_whole_and_a_longer_one_is_cut() {
        let memory = ram::allocate(64).unwrap();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut vectors = vectors(&memory, &[3, 4]);
        for (sent, cut) in [(6, false), (7, false), (8, true), (900, true)] {
            theirs.send(&vec![b'x'; sent]).unwrap();
            let received = vectors.read_from(ours.as_fd()).unwrap();
            let bytes = sent.min(7);
            assert_eq!(received, Received { bytes, cut });
        }
        let behind: u8 = memory.read_obj(GuestAddress((1 << 20) + 7)).unwrap();
        assert_eq!(behind, 0);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more_however_many_come_and_go() {
        let memory = ram::allocate(64).unwrap();
        let mut vectors = vectors(&memory, &[1; MOST]);
        let room = vectors.all.capacity();
        let full = BadChain::Long { most: MOST };
        assert_eq!(vectors.push(piece(0, 1)), Err(full));
        for _ in 0..10 * MOST {
            vectors.drop_first(1);
            vectors.push(piece(0, 1)).unwrap();
            assert_eq!(vectors.len(), MOST);
        }
        assert_eq!(vectors.all.capacity(), room);
    }

    proptest! {
        /// Against a plain array: whatever is read, put, removed.
        #[test]
        fn pieces_are_one_sequence(
            lengths in proptest::collection::vec(1_usize..50, 1..20),
            packet in proptest::collection::vec(any::<u8>(), 1..600),
            (offset, bytes) in (0_usize..200, proptest::collection::vec(any::<u8>(), 0..9)),
            gone in 0_usize..20,
            kept in 0_usize..20,
        ) {
            let memory = ram::allocate(64).unwrap();
            let (ours, theirs) = UnixDatagram::pair().unwrap();
            let mut vectors = vectors(&memory, &lengths);
            let total: usize = lengths.iter().sum();
            let mut model = packet.clone();
            model.resize(total, 0);

            theirs.send(&packet).unwrap();
            let received = vectors.read_from(ours.as_fd()).unwrap();
            prop_assert_eq!(received.bytes, packet.len().min(total));
            prop_assert_eq!(received.cut, packet.len() > total);
            vectors.put(offset, &bytes);
            for (at, byte) in (offset..total).zip(&bytes) {
                model[at] = *byte;
            }

            vectors.drop_first(gone);
            vectors.truncate(kept);
            let first: usize = lengths.iter().take(gone).sum();
            let left: usize = lengths.iter().skip(gone).take(kept).sum();
            prop_assert_eq!(vectors.bytes(), left);
            if left > 0 {
                prop_assert_eq!(vectors.write_to(ours.as_fd()), Ok(left));
                let mut read = vec![0; total + 1];
                prop_assert_eq!(theirs.recv(&mut read).unwrap(), left);
                prop_assert_eq!(&read[..left], &model[first..first + left]);
            }
        }
    }
}
