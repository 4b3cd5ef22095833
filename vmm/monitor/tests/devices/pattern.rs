//! Bytes that tell where in a stream they are.

use std::io::{Read, Write};

use anyhow::{Context, ensure};

const PIECE: usize = 64 << 10;

/// Pieces of a stream, one after the other: whatever is lost, doubled or out of
/// place shows. Cheap to make: what is to be measured is not this.
struct Pieces {
    piece: Vec<u8>,
    number: u64,
}

impl Pieces {
    fn new() -> Self {
        let words = (0..PIECE as u64 / 8).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            piece: words.flat_map(u64::to_le_bytes).collect(),
            number: 0,
        }
    }

    fn next(&mut self) -> &[u8] {
        for part in self.piece.chunks_mut(512) {
            let stamp = part.iter_mut().zip(self.number.to_le_bytes());
            stamp.for_each(|(byte, new)| *byte = new);
        }
        self.number += 1;
        &self.piece
    }
}

pub(crate) fn send(to: &mut impl Write, bytes: usize) -> anyhow::Result<()> {
    let mut pieces = Pieces::new();
    for _ in 0..bytes / PIECE {
        to.write_all(pieces.next()).context("send")?;
    }
    Ok(())
}

pub(crate) fn check(from: &mut impl Read, bytes: usize) -> anyhow::Result<()> {
    let (mut pieces, mut read) = (Pieces::new(), vec![0; PIECE]);
    for number in 0..bytes / PIECE {
        from.read_exact(&mut read).context("receive")?;
        ensure!(read == pieces.next(), "piece {number} is another");
    }
    Ok(())
}
