//! States of a container, and what may be asked of it in each.
//!
//! ```text
//! (create) ─> created ─start─> running ─pause──> paused
//!                │                │  <─resume──    │
//!                └───────exit─────┴──────exit──────┘
//!                                 v
//!                              stopped ─delete─> (gone)
//! ```

use std::fmt;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything is there but the user's program.
    Created,
    Running,
    Paused,
    /// Its first process has ended.
    Stopped,
}

/// What is done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Exec,
    Pause,
    Resume,
    Update,
    Signal,
    /// The first process ends.
    Exit,
    Delete,
}

/// Everything that is allowed, and the state it leads to.
const TRANSITIONS: [(State, Action, State); 15] = [
    (State::Created, Action::Start, State::Running),
    (State::Created, Action::Update, State::Created),
    (State::Created, Action::Signal, State::Created),
    (State::Created, Action::Exit, State::Stopped),
    (State::Running, Action::Exec, State::Running),
    (State::Running, Action::Pause, State::Paused),
    (State::Running, Action::Update, State::Running),
    (State::Running, Action::Signal, State::Running),
    (State::Running, Action::Exit, State::Stopped),
    (State::Paused, Action::Resume, State::Running),
    (State::Paused, Action::Update, State::Paused),
    (State::Paused, Action::Signal, State::Paused),
    (State::Paused, Action::Exit, State::Stopped),
    // Processes may outlive the first one when they share its PID namespace.
    (State::Stopped, Action::Signal, State::Stopped),
    (State::Stopped, Action::Delete, State::Stopped),
];

impl State {
    /// The state after `action`; `None` when it is not allowed in this one.
    pub(crate) fn after(self, action: Action) -> Option<Self> {
        TRANSITIONS
            .iter()
            .find(|(from, by, _)| *from == self && *by == action)
            .map(|(_, _, to)| *to)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Exec => "exec in",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::Signal => "signal",
            Self::Exit => "end",
            Self::Delete => "delete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_lives_once() {
        let mut state = State::Created;
        for action in [
            Action::Start,
            Action::Pause,
            Action::Resume,
            Action::Exit,
            Action::Delete,
        ] {
            state = state.after(action).unwrap();
        }
        assert_eq!(state, State::Stopped);
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        for (state, action) in [
            (State::Created, Action::Exec),
            (State::Created, Action::Pause),
            (State::Created, Action::Delete),
            (State::Running, Action::Start),
            (State::Running, Action::Delete),
            (State::Paused, Action::Exec),
            (State::Paused, Action::Delete),
            (State::Stopped, Action::Start),
            (State::Stopped, Action::Exec),
        ] {
            assert_eq!(state.after(action), None, "{action} while {state}");
        }
    }
}
