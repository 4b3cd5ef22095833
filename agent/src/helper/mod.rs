//! The agent's short-lived, single-threaded other self.
//!
//! Building a container forks, unshares and changes credentials: nothing for a
//! process with an event loop. So the agent has a [`nursery`]: itself as it was
//! before that began, which turns every [`order`] into a process. The helper
//! does that one thing, [`report`]s, and is gone. It is the agent's child, and so
//! is what it starts.

mod adapt;
mod create;
mod delegation;
mod directory;
mod exec;
mod hooks;
mod identity;
mod limits;
mod namespaces;
pub(crate) mod nursery;
pub(crate) mod order;
mod pause;
mod payload;
mod program;
pub(crate) mod report;
mod seccomp;
mod system;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use protocol::{Id, InvalidId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

use order::Order;
use report::{Kind, Report, Reporter};

/// One thing a helper can do. Its standard streams are those of the process it
/// is to start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    Create(Create),
    Exec(Exec),
    Hooks {
        container: String,
        stage: Stage,
    },
    /// Make the namespaces of a pod that has a user namespace.
    Namespaces(Namespaces),
    /// Hold a PID namespace open and reap in it.
    Pause(Pause),
}

/// A user namespace, and those that belong to it: network, IPC, UTS.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    /// What its `uid_map` is to say (user_namespaces(7)).
    pub(crate) uid_map: String,
    /// The same for groups.
    pub(crate) gid_map: String,
}

/// A PID namespace for several containers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// Whether it belongs to the pod's user namespace.
    pub(crate) in_user_namespace: bool,
}

/// Build the container from the specification in its bundle.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Create {
    pub(crate) container: String,
    /// Socket that is to receive the terminal, when there is to be one.
    pub(crate) console: Option<PathBuf>,
    /// The pod's PID namespace, when the container shares it.
    pub(crate) pid_namespace: Option<PathBuf>,
    /// Whether the pod has a user namespace, and those that belong to it.
    pub(crate) in_user_namespace: bool,
}

/// Start one more process in a container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub(crate) container: String,
    /// OCI `process` as JSON; the helper removes the file.
    pub(crate) process: PathBuf,
    /// The container's first process; a pidfd of it comes with the order.
    pub(crate) init_pid: i32,
    pub(crate) console: Option<PathBuf>,
}

/// When hooks run that are not part of creating (OCI runtime specification,
/// "POSIX-platform Hooks").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Poststart,
    Poststop,
}

/// Why a helper could not do it.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("{action} {path:?}")]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path:?} is not what the OCI runtime specification describes")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(transparent)]
    Adapt(#[from] adapt::AdaptError),
    #[error(transparent)]
    Payload(#[from] payload::PayloadError),
    #[error(transparent)]
    Create(#[from] create::CreateError),
    #[error(transparent)]
    Delegation(#[from] delegation::DelegationError),
    #[error(transparent)]
    Exec(#[from] exec::ExecError),
    #[error(transparent)]
    Hooks(#[from] hooks::HooksError),
    #[error(transparent)]
    Namespaces(#[from] namespaces::NamespacesError),
    #[error(transparent)]
    Pause(#[from] pause::PauseError),
}

impl HelperError {
    fn kind(&self) -> Kind {
        match self {
            Self::Id(_) | Self::Parse { .. } => Kind::Invalid,
            Self::Adapt(error) => error.kind(),
            Self::Payload(error) => error.kind(),
            Self::Exec(error) => error.kind(),
            Self::Namespaces(error) => error.kind(),
            Self::Create(_)
            | Self::Delegation(_)
            | Self::Hooks(_)
            | Self::Pause(_)
            | Self::File { .. } => Kind::Internal,
        }
    }
}

/// The whole life of a helper.
fn run(order: Order) -> ExitCode {
    let reporter = order.reporter;
    trace_errors(reporter);
    match perform(order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.send(&Report::failed(error.kind(), &error));
            ExitCode::FAILURE
        }
    }
}

fn perform(order: Order) -> Result<(), HelperError> {
    let Order {
        task,
        reporter,
        init,
    } = order;
    match task {
        Task::Create(order) => create::run(&order, reporter),
        Task::Exec(order) => exec::run(&order, init, reporter),
        Task::Hooks { container, stage } => hooks::run(&Id::new(container)?, stage),
        Task::Namespaces(order) => Ok(namespaces::make(&order)?),
        Task::Pause(order) => Ok(pause::run(&order, reporter)?),
    }
}

/// libcontainer logs what failed in the process where it failed and hands up
/// less and less of it. The first line logged is the cause.
fn trace_errors(reporter: Reporter) {
    crate::log::install(LevelFilter::ERROR, move |_, text| {
        reporter.send(&Report::Trace(text.to_owned()));
    });
}

/// The OCI document in file `path`. All of them are parsed by way of one kind of
/// reader, libcontainer's: the code for another would be as large again.
fn parse<T: DeserializeOwned>(path: PathBuf) -> Result<T, HelperError> {
    let file = File::open(&path).map_err(|source| HelperError::File {
        action: "open",
        path: path.clone(),
        source,
    })?;
    serde_json::from_reader(BufReader::new(file))
        .map_err(|source| HelperError::Parse { path, source })
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), HelperError> {
    std::fs::write(&path, bytes).map_err(|source| HelperError::File {
        action: "write",
        path,
        source,
    })
}
