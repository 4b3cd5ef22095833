//! The life of a connection as a table (virtio 1.2, section 5.10.6.5).
//!
//! ```text
//!            guest done, guest reset, violation
//!     Open ──────────────────────────────────────▶ Draining
//!      │                                              │ drained
//!      │ both directions over                         ▼
//!      ▼           guest done, guest reset,          Gone
//!   Closing ───────────────────────────────────────▶
//!              violation, expired, superseded
//! ```

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// At least one direction may still carry data.
    Open,
    /// The guest was told that both directions are over and owes a reset. The
    /// host's end is closed; the address stays taken.
    Closing,
    /// The guest has finished with the connection and its address is free. The
    /// host's end lives until it has taken what the guest sent before.
    Draining,
    /// Nothing is left of it.
    Gone,
}

/// What can happen to a connection as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest gave up both directions.
    GuestDone,
    /// The guest sent a reset.
    GuestReset,
    /// The guest broke a rule of the protocol.
    Violation,
    /// Neither direction can carry data any more.
    BothOver,
    /// The reset that the guest owes did not come in time.
    Expired,
    /// The guest opened a new connection on the same address.
    Superseded,
    /// The host's end has taken everything, or cannot take more.
    Drained,
}

/// Whether the guest is sent a reset on a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing is sent.
    Silent,
    /// A reset is sent.
    Reset,
}

impl Stage {
    /// The table. `None` for an event that cannot happen in this stage.
    #[must_use]
    pub fn after(self, event: Event) -> Option<(Self, Reply)> {
        use Reply::{Reset, Silent};
        Some(match (self, event) {
            (Self::Open, Event::GuestDone) => (Self::Draining, Reset),
            (Self::Open, Event::GuestReset) => (Self::Draining, Silent),
            (Self::Open, Event::Violation) => (Self::Draining, Reset),
            (Self::Open, Event::BothOver) => (Self::Closing, Silent),
            (Self::Closing, Event::GuestDone) => (Self::Gone, Reset),
            (Self::Closing, Event::GuestReset) => (Self::Gone, Silent),
            (Self::Closing, Event::Violation) => (Self::Gone, Reset),
            (Self::Closing, Event::Expired) => (Self::Gone, Reset),
            // The guest has forgotten the old connection; a reset would hit
            // the new one.
            (Self::Closing, Event::Superseded) => (Self::Gone, Silent),
            (Self::Draining, Event::Drained) => (Self::Gone, Silent),
            _ => return None,
        })
    }

    /// Whether the connection holds its address.
    #[must_use]
    pub fn has_address(self) -> bool {
        matches!(self, Self::Open | Self::Closing)
    }

    /// Whether the host's end is needed.
    #[must_use]
    pub fn needs_host(self) -> bool {
        matches!(self, Self::Open | Self::Draining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 4] = [Stage::Open, Stage::Closing, Stage::Draining, Stage::Gone];
    const EVENTS: [Event; 7] = [
        Event::GuestDone,
        Event::GuestReset,
        Event::Violation,
        Event::BothOver,
        Event::Expired,
        Event::Superseded,
        Event::Drained,
    ];

    fn transitions() -> impl Iterator<Item = (Stage, Event, Stage, Reply)> {
        STAGES.into_iter().flat_map(|from| {
            EVENTS.into_iter().filter_map(move |event| {
                from.after(event)
                    .map(|(to, reply)| (from, event, to, reply))
            })
        })
    }

    #[test]
    fn a_reset_is_never_answered_with_a_reset() {
        for (_, event, _, reply) in transitions() {
            assert!(event != Event::GuestReset || reply == Reply::Silent);
        }
    }

    #[test]
    fn an_address_once_given_up_is_not_taken_again() {
        for (from, _, to, _) in transitions() {
            assert!(from.has_address() || !to.has_address());
        }
    }

    #[test]
    fn every_stage_leads_to_the_end() {
        assert!(transitions().all(|(from, ..)| from != Stage::Gone));
        for stage in [Stage::Open, Stage::Closing, Stage::Draining] {
            assert!(transitions().any(|(from, _, to, _)| from == stage && to != stage));
        }
        assert!(transitions().all(|(from, _, to, _)| { from == Stage::Open || to == Stage::Gone }));
    }
}
