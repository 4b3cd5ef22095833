//! Data whose every octet tells whether it is in its place. The period is a
//! prime, so what is lost, doubled or exchanged by whole packets shows.

use anyhow::{Context, ensure};
use std::io::{Read, Write};

const PERIOD: usize = 65_521;

/// A stream of data with a position in it.
pub(crate) struct Pattern {
    twice: Vec<u8>,
    position: usize,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 1u32;
        let mut twice: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        twice.extend_from_within(..);
        Self { twice, position: 0 }
    }

    /// The next `len` octets, at most a period.
    pub(crate) fn peek(&self, len: usize) -> &[u8] {
        &self.twice[self.position % PERIOD..][..len.min(PERIOD)]
    }

    pub(crate) fn skip(&mut self, len: usize) {
        self.position += len;
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Writes the next `total` octets, `chunk` at a time.
    pub(crate) fn send(
        &mut self,
        mut to: impl Write,
        total: usize,
        chunk: usize,
    ) -> anyhow::Result<()> {
        let end = self.position + total;
        while self.position < end {
            let written = to
                .write(self.peek(chunk.min(end - self.position)))
                .with_context(|| format!("writing at {}", self.position))?;
            self.skip(written);
        }
        Ok(())
    }

    /// Reads and checks the next `total` octets.
    pub(crate) fn check(&mut self, mut from: impl Read, total: usize) -> anyhow::Result<()> {
        let end = self.position + total;
        let mut chunk = vec![0; 1 << 16];
        while self.position < end {
            let room = chunk.len().min(end - self.position).min(PERIOD);
            let count = from
                .read(&mut chunk[..room])
                .with_context(|| format!("reading at {}", self.position))?;
            ensure!(count > 0, "ended after {} of {end} octets", self.position);
            ensure!(
                chunk[..count] == *self.peek(count),
                "wrong data at {}",
                self.position
            );
            self.skip(count);
        }
        Ok(())
    }
}

/// Reads and checks exactly `total` octets and the end behind them.
pub(crate) fn check_all(mut from: impl Read, total: usize) -> anyhow::Result<()> {
    Pattern::new().check(&mut from, total)?;
    let more = from.read(&mut [0; 16]).context("reading the end")?;
    ensure!(more == 0, "{more} octets too many");
    Ok(())
}
