//! Which blocks of the region are plugged, and what may become of them
//! (virtio 1.2, section 5.15.6).

/// Bytes of a block: what the guest gets and gives back at once, and what KVM
/// has a memory slot for. Smaller ones would be more slots than KVM has for a
/// large machine (docs/decisions/0021-memory-by-virtio-mem.md).
pub const BLOCK: u64 = 16 << 20;

/// What a driver is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is to ask again later.
    Nack,
    /// It makes no sense.
    Error,
}

/// What blocks are, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Plugged,
    Unplugged,
    Mixed,
}

/// Blocks by their number: first, and first behind.
pub(super) type Range = std::ops::Range<usize>;

/// All blocks.
pub(super) struct Blocks {
    start: u64,
    plugged: Vec<bool>,
    count: u64,
}

impl Blocks {
    /// Of `bytes` from guest address `start` on; none is plugged.
    pub(super) fn new(start: u64, bytes: u64) -> Self {
        let blocks = usize::try_from(bytes / BLOCK).unwrap_or(0);
        Self {
            start,
            plugged: vec![false; blocks],
            count: 0,
        }
    }

    /// Guest address of the first one.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.plugged.len() as u64 * BLOCK
    }

    /// Bytes of those that are plugged.
    pub(super) fn plugged(&self) -> u64 {
        self.count * BLOCK
    }

    /// All of them.
    pub(super) fn all(&self) -> Range {
        0..self.plugged.len()
    }

    /// The `count` blocks from guest address `address` on.
    pub(super) fn range(&self, address: u64, count: u16) -> Result<Range, Refusal> {
        let offset = address.checked_sub(self.start).ok_or(Refusal::Error)?;
        let first = usize::try_from(offset / BLOCK).map_err(|_| Refusal::Error)?;
        let end = first.checked_add(count.into()).ok_or(Refusal::Error)?;
        match offset % BLOCK == 0 && count > 0 && end <= self.plugged.len() {
            true => Ok(first..end),
            false => Err(Refusal::Error),
        }
    }

    /// Whether `blocks` may be plugged when `wanted` bytes are.
    pub(super) fn may_plug(&self, blocks: &Range, wanted: u64) -> Result<(), Refusal> {
        match self.state(blocks) {
            State::Unplugged if self.plugged() + blocks.len() as u64 * BLOCK <= wanted => Ok(()),
            State::Unplugged => Err(Refusal::Nack),
            State::Plugged | State::Mixed => Err(Refusal::Error),
        }
    }

    /// Whether they may be unplugged.
    pub(super) fn may_unplug(&self, blocks: &Range) -> Result<(), Refusal> {
        match self.state(blocks) {
            State::Plugged => Ok(()),
            State::Unplugged | State::Mixed => Err(Refusal::Error),
        }
    }

    /// What they are.
    pub(super) fn state(&self, blocks: &Range) -> State {
        let these = self.plugged.get(blocks.clone()).unwrap_or_default();
        match these.iter().filter(|plugged| **plugged).count() {
            0 => State::Unplugged,
            all if all == these.len() => State::Plugged,
            _ => State::Mixed,
        }
    }

    /// Whether that one is plugged.
    pub(super) fn is_plugged(&self, block: usize) -> bool {
        self.plugged.get(block).is_some_and(|plugged| *plugged)
    }

    /// It is plugged now, or is not.
    pub(super) fn set(&mut self, block: usize, plugged: bool) {
        if let Some(cell) = self.plugged.get_mut(block)
            && *cell != plugged
        {
            *cell = plugged;
            self.count = match plugged {
                true => self.count + 1,
                false => self.count - 1,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const START: u64 = 6 << 30;

    #[test]
    fn only_whole_blocks_of_the_region_are_some() {
        let blocks = Blocks::new(START, 4 * BLOCK);
        assert_eq!(blocks.range(START, 4), Ok(0..4));
        assert_eq!(blocks.range(START + 3 * BLOCK, 1), Ok(3..4));
        for (address, count) in [
            (START, 0),
            (START, 5),
            (START + 1, 1),
            (START + 4096, 1),
            (START - BLOCK, 1),
            (START - BLOCK, 2),
            (START + 4 * BLOCK, 1),
            (START + 3 * BLOCK, 2),
            (0, 1),
            (u64::MAX, u16::MAX),
            (u64::MAX - BLOCK + 1, 1),
        ] {
            assert_eq!(blocks.range(address, count), Err(Refusal::Error));
        }
    }

    proptest! {
        /// The model is a set of numbers.
        #[test]
        fn blocks_are_a_set(
            steps in proptest::collection::vec((any::<bool>(), 0_usize..20, 1_u16..6, 0_u64..20), 0..200),
        ) {
            let mut blocks = Blocks::new(START, 16 * BLOCK);
            let mut model = BTreeSet::new();
            for (plug, first, count, wanted) in steps {
                let range = blocks.range(START + first as u64 * BLOCK, count);
                let these: Vec<usize> = (first..first + usize::from(count)).collect();
                prop_assert_eq!(range.is_ok(), these.iter().all(|block| *block < 16));
                let Ok(range) = range else { continue };
                let held = these.iter().filter(|block| model.contains(*block)).count();
                let expected = match plug {
                    true if held > 0 => Err(Refusal::Error),
                    true if model.len() + these.len() > usize::try_from(wanted).unwrap() => Err(Refusal::Nack),
                    false if held < these.len() => Err(Refusal::Error),
                    _ => Ok(()),
                };
                let allowed = match plug {
                    true => blocks.may_plug(&range, wanted * BLOCK),
                    false => blocks.may_unplug(&range),
                };
                prop_assert_eq!(allowed, expected);
                if allowed.is_ok() {
                    for block in these {
                        blocks.set(block, plug);
                        if plug { model.insert(block); } else { model.remove(&block); }
                    }
                }
                prop_assert_eq!(blocks.plugged(), model.len() as u64 * BLOCK);
                prop_assert!((0..16).all(|block| blocks.is_plugged(block) == model.contains(&block)));
            }
        }
    }
}
