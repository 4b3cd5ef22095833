//! Where the time of a pod's start goes.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::time::{ClockId, clock_gettime};
use vmm_api::Span;

/// The span that ends a pod's start: its first container runs.
pub(crate) const LAST: &str = "start";

/// Spans since the shim's server began.
pub(super) struct Timeline {
    origin: Instant,
    spans: Mutex<Vec<Span>>,
}

impl Timeline {
    pub(super) fn since(origin: Instant) -> Self {
        Self {
            origin,
            spans: Mutex::default(),
        }
    }

    /// The origin, microseconds of `CLOCK_MONOTONIC`.
    pub(super) fn origin_us(&self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
            let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
            seconds * 1_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0) / 1000
        });
        now.saturating_sub(self.us(Instant::now()))
    }

    /// Ends the span that began at `begin`. Only the first of its name counts:
    /// what comes after the pod's start is not part of it. Returns whether it
    /// counted.
    pub(super) fn end(&self, name: &str, begin: Instant) -> bool {
        let (begin_us, end_us) = (self.us(begin), self.us(Instant::now()));
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.iter().any(|span| span.name == name) {
            return false;
        }
        tracing::debug!(span = name, us = end_us.saturating_sub(begin_us), "start");
        spans.push(Span {
            name: name.to_owned(),
            begin_us,
            end_us,
        });
        true
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn us(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_their_begin_and_only_the_first_of_a_name_counts() {
        let origin = Instant::now();
        let timeline = Timeline::since(origin);
        assert!(timeline.end("one", origin));
        let begin = Instant::now();
        timeline.end("two", begin);
        assert!(!timeline.end("one", begin));
        let spans = timeline.spans();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(spans[0].begin_us, 0);
        assert!(spans[1].begin_us >= spans[0].end_us);
    }
}
