//! Page numbers, as a chain holds them (virtio 1.2, section 5.5.6).

use vm_memory::{Bytes, GuestMemoryMmap};

use crate::virtio::chain::{Access, BadChain, Pieces};

/// Most numbers in a chain; Linux sends 256.
const MOST: usize = 1024;
/// Bytes of one, little-endian.
const SIZE: usize = 4;

/// The numbers in one chain.
pub(super) struct Numbers {
    bytes: [u8; MOST * SIZE],
    length: usize,
}

impl Numbers {
    /// A copy: the guest may change its own meanwhile.
    pub(super) fn read(pieces: Pieces<'_>, memory: &GuestMemoryMmap) -> Result<Self, BadChain> {
        let mut numbers = Self {
            bytes: [0; MOST * SIZE],
            length: 0,
        };
        for piece in pieces.only(Access::Read) {
            let piece = piece?;
            let end = numbers.length.saturating_add(piece.length);
            let room = numbers.bytes.get_mut(numbers.length..end);
            let room = room.ok_or(BadChain::Size {
                bytes: end,
                least: SIZE,
                most: MOST * SIZE,
            })?;
            let read = memory.read_slice(room, piece.address);
            read.map_err(|_| BadChain::NotMemory {
                address: piece.address.0,
                length: piece.length,
            })?;
            numbers.length = end;
        }
        Ok(numbers)
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        let (numbers, _) = bytes.as_chunks();
        numbers.iter().map(|number| u32::from_le_bytes(*number))
    }

    /// Pages that follow each other, up or down, together: first and count.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut numbers = self.iter().map(u64::from).peekable();
        std::iter::from_fn(move || {
            let (mut first, mut count) = (numbers.next()?, 1);
            while let Some(next) = numbers.next_if(|n| *n == first + count || *n + 1 == first) {
                first = first.min(next);
                count += 1;
            }
            Some((first, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(list: &[u32]) -> Numbers {
        let mut numbers = Numbers {
            bytes: [0; MOST * SIZE],
            length: list.len() * SIZE,
        };
        let bytes = list.iter().flat_map(|number| number.to_le_bytes());
        let cells = numbers.bytes.iter_mut().zip(bytes);
        cells.for_each(|(cell, byte)| *cell = byte);
        numbers
    }

    #[test]
    fn neighbours_are_together() {
        for (list, expected) in [
            (&[5, 6, 7][..], &[(5, 3)][..]),
            (&[7, 6, 5], &[(5, 3)]),
            (&[7, 8, 6, 9], &[(6, 4)]),
            (&[1, 3], &[(1, 1), (3, 1)]),
            (&[4, 4], &[(4, 1), (4, 1)]),
            (&[u32::MAX, 0], &[(u32::MAX.into(), 1), (0, 1)]),
            (&[], &[]),
        ] {
            assert_eq!(numbers(list).runs().collect::<Vec<_>>(), expected);
        }
    }

    proptest! {
        #[test]
        fn runs_are_the_same_pages(list in proptest::collection::vec(0_u32..40, 0..MOST)) {
            let mut pages: Vec<_> = numbers(&list)
                .runs()
                .flat_map(|(first, count)| first..first + count)
                .collect();
            let mut expected: Vec<_> = list.iter().map(|n| u64::from(*n)).collect();
            pages.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(pages, expected);
        }
    }
}
