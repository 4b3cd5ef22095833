//! A process of a container: its first one, or an exec.

use std::sync::OnceLock;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::AgentError;
use crate::reaper::Exit;
use crate::signal::Signal;
use crate::stdio::Streams;

/// A process that was started, until it is deleted.
pub(crate) struct Process {
    pid: Pid,
    /// Names the process even when its number has been given to another. `None`
    /// when it had ended before it could be opened.
    handle: Option<OwnedFd>,
    streams: Streams,
    exit: OnceLock<Exit>,
}

impl Process {
    /// The process of `pid`, to be made while its exit is claimed.
    pub(crate) fn new(pid: Pid, streams: Streams) -> Self {
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
        Self {
            pid,
            handle,
            streams,
            exit: OnceLock::new(),
        }
    }

    /// Its number in the guest.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// A handle for as long as it lives.
    pub(crate) fn handle(&self) -> Result<BorrowedFd<'_>, AgentError> {
        self.living()?;
        self.handle
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or(AgentError::Finished)
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Records how it ended.
    pub(crate) fn ended(&self, exit: Exit) {
        // There is one exit.
        let _ = self.exit.set(exit);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.exit.get().is_some()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), AgentError> {
        match signal.send(self.handle()?) {
            Err(Errno::SRCH) => Err(AgentError::Finished),
            result => result.map_err(|errno| AgentError::Io("send a signal", errno.into())),
        }
    }

    /// Sets the size of its terminal.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), AgentError> {
        self.living()?;
        let result = self
            .streams
            .resize(columns, rows)
            .ok_or(AgentError::NoTerminal)?;
        result.map_err(|error| AgentError::Io("resize the terminal", error))
    }

    fn living(&self) -> Result<(), AgentError> {
        if self.has_ended() {
            Err(AgentError::Finished)
        } else {
            Ok(())
        }
    }
}
