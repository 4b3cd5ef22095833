//! What a helper, and the process it starts, tell the agent: JSON lines in a
//! pipe. The pipe is closed on exec, so its end is the user's program running.

use std::error::Error;

use protocol::{Code, Failure};
use rustix::fd::BorrowedFd;
use serde::{Deserialize, Serialize};

/// One line of the pipe.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The process exists.
    Started(Started),
    /// It will not. Nothing of it is left.
    Failed { kind: Kind, message: String },
    /// An error that a library logged on the way.
    Trace(String),
}

/// A process that a helper has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    /// Hooks are to run after the start, and after the stop.
    pub(crate) poststart: bool,
    pub(crate) poststop: bool,
}

/// What kind of failure; `protocol::Code` as far as a helper can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    NotFound,
    Invalid,
    Precondition,
    Unimplemented,
    Internal,
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound,
            Kind::Invalid => Self::InvalidArgument,
            Kind::Precondition => Self::FailedPrecondition,
            Kind::Unimplemented => Self::Unimplemented,
            Kind::Internal => Self::Internal,
        }
    }
}

impl Report {
    /// `error` with its chain of causes.
    pub(crate) fn failed(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        Self::Failed {
            kind,
            message: Failure::from_error(kind.into(), error).message,
        }
    }
}

/// The writing end. It stays open in everything the helper starts, up to exec.
#[derive(Clone, Copy)]
pub(crate) struct Reporter(BorrowedFd<'static>);

impl Reporter {
    /// The pipe that came with the order.
    pub(super) fn new(pipe: BorrowedFd<'static>) -> Self {
        Self(pipe)
    }

    /// Tells the agent. When it does not listen any more, nobody does.
    pub(crate) fn send(self, report: &Report) {
        let Ok(mut line) = serde_json::to_vec(report) else {
            return;
        };
        line.push(b'\n');
        let mut rest = line.as_slice();
        while let Ok(written @ 1..) = rustix::io::write(self.0, rest) {
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}
