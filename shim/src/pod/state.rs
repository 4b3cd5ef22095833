//! The life of a process, as a table. Containers' first processes and execs
//! live the same life.

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Being built in the guest.
    Creating,
    /// The same, and deleted already.
    Abandoned,
    /// Built, or for an exec: described. Not running.
    Created,
    /// Its start was asked for.
    Starting,
    Running,
    /// Frozen.
    Paused,
    /// Its exit is known, or it never came to run.
    Stopped,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    CreateDone,
    Abandon,
    Start,
    StartDone,
    StartFailed,
    Pause,
    Resume,
    Exit,
    Delete,
}

use State::{Abandoned, Created, Creating, Paused, Running, Starting, Stopped};

/// Every step there is: from, by, to. What is not here is refused.
const TABLE: &[(State, Step, State)] = &[
    (Creating, Step::CreateDone, Created),
    // Its creation undoes it, which cannot be stopped half way.
    (Creating, Step::Abandon, Abandoned),
    (Abandoned, Step::Abandon, Abandoned),
    (Created, Step::Start, Starting),
    (Starting, Step::StartDone, Running),
    (Starting, Step::StartFailed, Stopped),
    (Running, Step::Pause, Paused),
    (Paused, Step::Resume, Running),
    (Creating, Step::Exit, Stopped),
    (Created, Step::Exit, Stopped),
    (Running, Step::Exit, Stopped),
    (Paused, Step::Exit, Stopped),
    // A created process may be deleted without ever having run.
    (Created, Step::Delete, Stopped),
    (Stopped, Step::Delete, Stopped),
];

impl State {
    /// The state after `step`, unless the table has no such row.
    pub(crate) fn after(self, step: Step) -> Option<Self> {
        TABLE
            .iter()
            .find(|(from, by, _)| (*from, *by) == (self, step))
            .map(|(_, _, to)| *to)
    }

    /// Whether the guest has it.
    pub(crate) fn is_created(self) -> bool {
        !matches!(self, Creating | Abandoned)
    }

    /// For an error's text: "the container is {}".
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Creating => "still being created",
            Abandoned => "being created, but was deleted meanwhile",
            Created => "created but not started",
            Starting => "starting",
            Running => "running",
            Paused => "paused",
            Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life() {
        let steps = [
            Step::CreateDone,
            Step::Start,
            Step::StartDone,
            Step::Pause,
            Step::Resume,
            Step::Exit,
            Step::Delete,
        ];
        let end = steps
            .iter()
            .try_fold(Creating, |state, step| state.after(*step));
        assert_eq!(end, Some(Stopped));
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        assert_eq!(Running.after(Step::Start), None);
        assert_eq!(Running.after(Step::Delete), None);
        assert_eq!(Paused.after(Step::Pause), None);
        assert_eq!(Stopped.after(Step::Start), None);
        // Nobody is told of what never was.
        assert_eq!(Abandoned.after(Step::CreateDone), None);
        assert_eq!(Abandoned.after(Step::Exit), None);
        // An exit while starting waits until the start is told.
        assert_eq!(Starting.after(Step::Exit), None);
    }

    #[test]
    fn no_row_stands_twice() {
        for (index, (from, by, _)) in TABLE.iter().enumerate() {
            let twice = TABLE
                .iter()
                .skip(index + 1)
                .any(|(f, b, _)| (f, b) == (from, by));
            assert!(!twice, "{from:?} {by:?}");
        }
    }
}
