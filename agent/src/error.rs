//! What the agent refuses or fails to do, and the one place where that becomes
//! a code that the host decides by.

use protocol::{Code, Failure, Id, InvalidId};

use crate::container::{Action, CgroupError, State};
use crate::disk::DiskError;
use crate::huge_pages::HugePagesError;
use crate::memory::MemoryError;
use crate::network::NetworkError;
use crate::pod::PodError;
use crate::processors::ProcessorsError;
use crate::volumes::VolumeError;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    #[error(
        "Hello comes first, and with the agent's protocol version: install shim and guest from one release"
    )]
    NoHello,
    #[error("the sandbox is not created yet")]
    NoSandbox,
    #[error("the sandbox is created already")]
    SandboxExists,
    #[error("events are sent to somebody already")]
    EventsTaken,
    #[error("container {0} not found")]
    NoContainer(Id),
    #[error("exec {exec} of container {container} not found")]
    NoExec { container: Id, exec: Id },
    #[error("container {0} already exists")]
    ContainerExists(Id),
    #[error("exec {exec} of container {container} already exists")]
    ExecExists { container: Id, exec: Id },
    #[error("container {0} is still being created")]
    Incomplete(Id),
    #[error("container {id} is {state}: cannot {action} it")]
    State {
        id: Id,
        state: State,
        action: Action,
    },
    #[error("the start of container {0} has failed already")]
    StartedBefore(Id),
    #[error("the process of exec {exec} of container {container} is still running")]
    StillRunning { container: Id, exec: Id },
    #[error("process already finished")]
    Finished,
    #[error("the process has no terminal")]
    NoTerminal,
    #[error("{what}: {value}")]
    Invalid { what: &'static str, value: String },
    #[error("{0}")]
    Io(&'static str, #[source] std::io::Error),
    #[error(transparent)]
    Pod(#[from] PodError),
    #[error(transparent)]
    Processors(#[from] ProcessorsError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    HugePages(#[from] HugePagesError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl AgentError {
    fn code(&self) -> Code {
        match self {
            Self::InvalidId(_) | Self::Invalid { .. } => Code::InvalidArgument,
            Self::NoContainer(_) | Self::NoExec { .. } | Self::Finished => Code::NotFound,
            Self::ContainerExists(_) | Self::ExecExists { .. } | Self::SandboxExists => {
                Code::AlreadyExists
            }
            Self::NoHello
            | Self::NoSandbox
            | Self::EventsTaken
            | Self::Incomplete(_)
            | Self::State { .. }
            | Self::StartedBefore(_)
            | Self::StillRunning { .. }
            | Self::NoTerminal => Code::FailedPrecondition,
            Self::Pod(PodError::Network(NetworkError::Invalid { .. })) => Code::InvalidArgument,
            Self::Pod(PodError::Namespaces(failure)) => failure.code,
            Self::Processors(error) => error.code(),
            Self::Memory(error) => error.code(),
            Self::HugePages(error) => error.code(),
            Self::Io(..) | Self::Pod(_) => Code::Internal,
            Self::Cgroup(error) => error.code(),
            Self::Disk(error) => error.code(),
            Self::Volume(error) => error.code(),
            Self::Failed(failure) => failure.code,
        }
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Failed(failure) => failure,
            other => Self::from_error(other.code(), &other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_from_below_keeps_its_code_and_text() {
        let below = Failure::new(
            Code::NotFound,
            "exec: \"x\": executable file not found in $PATH",
        );
        assert_eq!(Failure::from(AgentError::from(below.clone())), below);
    }

    #[test]
    fn the_state_is_named_with_what_was_asked() {
        let id = Id::new("c1").unwrap();
        let error = AgentError::State {
            id,
            state: State::Running,
            action: Action::Delete,
        };
        let failure = Failure::from(error);
        assert_eq!(failure.code, Code::FailedPrecondition);
        assert_eq!(failure.message, "container c1 is running: cannot delete it");
    }
}
