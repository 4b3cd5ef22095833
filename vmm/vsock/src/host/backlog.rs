//! What the guest sent and the host has not taken yet.

use std::collections::VecDeque;
use std::io::IoSlice;
use vm_memory::VolatileSlice;

/// A queue of octets. Its length is bounded by the credit granted to the guest,
/// its memory by twice that, and it holds none while it is empty.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: VecDeque<u8>,
}

impl Backlog {
    /// Whether no octets wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The octets waiting, oldest first, in two parts.
    #[must_use]
    pub fn pending(&self) -> [IoSlice<'_>; 2] {
        let (first, second) = self.bytes.as_slices();
        [IoSlice::new(first), IoSlice::new(second)]
    }

    /// Adds a copy of guest memory.
    pub fn push(&mut self, slice: &VolatileSlice<'_>) {
        let start = self.bytes.len();
        self.bytes.resize(start + slice.len(), 0);
        let (first, second) = self.bytes.as_mut_slices();
        let in_first = start.min(first.len());
        let in_second = start - in_first;
        let copied = slice.copy_to(&mut first[in_first..]);
        // Within the slice: no more was copied than there is.
        if let Ok(rest) = slice.offset(copied) {
            rest.copy_to(&mut second[in_second..]);
        }
    }

    /// Drops the `count` oldest octets.
    pub fn pop(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec((0usize..300, 0usize..300), 1..100)) {
            let mut backlog = Backlog::default();
            let mut model = std::collections::VecDeque::new();
            let mut next = 0u8;
            for (push, pop) in steps {
                let mut bytes: Vec<u8> = (0..push).map(|_| { next = next.wrapping_add(1); next }).collect();
                model.extend(bytes.iter().copied());
                backlog.push(&VolatileSlice::from(bytes.as_mut_slice()));
                let pop = pop.min(model.len());
                model.drain(..pop);
                backlog.pop(pop);
                let [first, second] = backlog.pending();
                prop_assert!(first.iter().chain(second.iter()).eq(model.iter()));
            }
        }
    }

    #[test]
    fn an_empty_backlog_holds_no_memory() {
        let mut backlog = Backlog::default();
        backlog.push(&VolatileSlice::from([1u8; 100].as_mut_slice()));
        backlog.pop(100);
        assert_eq!(backlog.bytes.capacity(), 0);
    }
}
