//! A request on its way, portion by portion.

use super::blocks::Range;
use super::request::Answer;

/// Blocks of a turn. Each takes a call in which KVM waits for all processors, and
/// a driver may ask for thousands; Linux asks for 8 at once where a machine is
/// small, and for 128 where it is large.
pub(super) const PORTION: usize = 32;

/// Where blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// What is left to do of a request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) way: Way,
    /// The first of those that it began with.
    start: usize,
    pub(super) left: Range,
    /// What the driver is told at the end.
    pub(super) answer: Answer,
}

impl Job {
    pub(super) fn new(way: Way, blocks: Range) -> Self {
        Self {
            way,
            start: blocks.start,
            left: blocks,
            answer: Answer::Done,
        }
    }

    /// Nothing but the answer.
    pub(super) fn done(answer: Answer) -> Self {
        Self {
            answer,
            ..Self::new(Way::In, 0..0)
        }
    }

    /// It fails at `block`: those that came before it go again, and those that
    /// went stay away.
    pub(super) fn give_up(&mut self, block: usize) {
        let undo = match self.way {
            Way::In => self.start..block,
            Way::Out => 0..0,
        };
        *self = Self {
            answer: Answer::Busy,
            ..Self::new(Way::Out, undo)
        };
    }
}
