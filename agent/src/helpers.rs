//! Giving orders to helpers, through the nursery that makes them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::helper::order::{self, Descriptors};
use crate::helper::{Task, nursery};
use crate::reaper::Reaper;

/// Starts helpers.
pub(crate) struct Helpers {
    pub(crate) reaper: Arc<Reaper>,
    /// Our end of the nursery's socket.
    nursery: Mutex<OwnedFd>,
}

impl Helpers {
    /// With the nursery at the other end of `nursery`.
    pub(crate) fn new(reaper: Arc<Reaper>, nursery: OwnedFd) -> Self {
        let nursery = Mutex::new(nursery);
        Self { reaper, nursery }
    }

    /// Gives `task` to a helper.
    ///
    /// # Errors
    ///
    /// None can be had.
    pub(crate) fn give(
        &self,
        task: &Task,
        descriptors: &Descriptors<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut nursery = self.nursery.lock().unwrap_or_else(PoisonError::into_inner);
        match order::give(nursery.as_fd(), task, descriptors) {
            // It may have been killed for want of memory, even with an order unread.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                *nursery = start()?;
                order::give(nursery.as_fd(), task, descriptors)
            }
            given => given,
        }
    }
}

/// A nursery as a program. The reaper waits for it, as for every child.
fn start() -> io::Result<OwnedFd> {
    let (ours, theirs) = nursery::socket()?;
    Command::new("/proc/self/exe")
        .arg0(nursery::NAME)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(ours)
}
