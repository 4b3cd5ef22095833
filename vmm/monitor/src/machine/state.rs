//! What a running machine may do next, as a table.

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Executing the guest.
    Running,
    /// Holding still.
    Paused,
}

/// What somebody wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hold still.
    Pause,
    /// Go on.
    Resume,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action:?} a machine that is {state:?}")]
pub struct StateError {
    state: State,
    action: Action,
}

const TRANSITIONS: [(State, Action, State); 2] = [
    (State::Running, Action::Pause, State::Paused),
    (State::Paused, Action::Resume, State::Running),
];

impl State {
    /// The state after `action`.
    ///
    /// # Errors
    /// When it does not fit the state.
    pub fn after(self, action: Action) -> Result<Self, StateError> {
        TRANSITIONS
            .iter()
            .find(|(from, by, _)| (*from, *by) == (self, action))
            .map(|(_, _, to)| *to)
            .ok_or(StateError {
                state: self,
                action,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        assert_eq!(State::Running.after(Action::Pause), Ok(State::Paused));
        assert_eq!(State::Paused.after(Action::Resume), Ok(State::Running));
        assert!(State::Running.after(Action::Resume).is_err());
        let error = State::Paused.after(Action::Pause).unwrap_err();
        assert_eq!(error.to_string(), "cannot Pause a machine that is Paused");
    }
}
