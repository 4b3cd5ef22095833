//! Where the time of a boot goes.

use std::time::Instant;

use vmm_api::Span;

/// Spans since the shim began.
pub(super) struct Timeline {
    origin: Instant,
    spans: Vec<Span>,
}

impl Timeline {
    pub(super) fn since(origin: Instant) -> Self {
        Self {
            origin,
            spans: Vec::new(),
        }
    }

    /// Ends the span that begins where the last one ended.
    pub(super) fn mark(&mut self, name: &str) {
        let begin_us = self.spans.last().map_or(0, |span| span.end_us);
        let end_us = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(span = name, us = end_us.saturating_sub(begin_us), "boot");
        self.spans.push(Span {
            name: name.to_owned(),
            begin_us,
            end_us,
        });
    }

    pub(super) fn into_spans(self) -> Vec<Span> {
        self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_follow_each_other() {
        let mut timeline = Timeline::since(Instant::now());
        timeline.mark("one");
        timeline.mark("two");
        let spans = timeline.into_spans();
        assert_eq!(spans[0].begin_us, 0);
        assert_eq!(spans[1].begin_us, spans[0].end_us);
        assert!(spans[1].end_us >= spans[1].begin_us);
    }
}
