//! Helpers at hand. Starting a program costs more than most of what a helper
//! does then, and the agent mostly waits: so the next helper is started in
//! advance, when there is nothing better to do, and waits for its order.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::helper::order::{self, Descriptors};
use crate::helper::{NAME, Task};
use crate::reaper::Reaper;

/// How long after the last order the next helper is started: whoever gave the
/// order waits for its outcome, not for this.
const LATER: Duration = Duration::from_millis(500);

/// Starts helpers.
pub(crate) struct Helpers {
    pub(crate) reaper: Arc<Reaper>,
    /// The agent's end of the socket to the helper that waits.
    spare: Mutex<Option<OwnedFd>>,
}

impl Helpers {
    /// None waits yet.
    pub(crate) fn new(reaper: Arc<Reaper>) -> Self {
        Self {
            reaper,
            spare: Mutex::default(),
        }
    }

    /// Gives `task` to a helper.
    ///
    /// # Errors
    ///
    /// None could be started.
    pub(crate) fn give(
        self: &Arc<Self>,
        task: &Task,
        descriptors: &Descriptors<BorrowedFd<'_>>,
    ) -> std::io::Result<()> {
        let spare = self.spare().take();
        self.prepare(LATER);
        // The one that waited may have been killed for want of memory.
        let given =
            spare.is_some_and(|helper| order::give(helper.as_fd(), task, descriptors).is_ok());
        match given {
            true => Ok(()),
            false => order::give(start()?.as_fd(), task, descriptors),
        }
    }

    /// Starts a helper after `delay`, unless one waits by then.
    pub(crate) fn prepare(self: &Arc<Self>, delay: Duration) {
        let helpers = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut spare = helpers.spare();
            if spare.is_none() {
                // The next order will tell why none can be started.
                *spare = start().ok();
            }
        });
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Option<OwnedFd>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A helper that waits for an order at the other end of the socket. The reaper
/// waits for it, as for every child.
fn start() -> std::io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Command::new("/proc/self/exe")
        .arg0(NAME)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(ours)
}
