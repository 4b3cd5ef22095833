//! The end of the machine: the first reason counts.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use vmm_api::StopReason;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Where any thread says that the machine is over.
pub struct Over {
    reason: Mutex<Option<StopReason>>,
    event: EventFd,
}

impl Over {
    /// Of a machine that is not over.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            reason: Mutex::new(None),
            event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        })
    }

    /// The machine is over because of `reason`, unless it is over already.
    pub fn declare(&self, reason: StopReason) {
        self.lock().get_or_insert(reason);
        // Full only after 2^64 reasons.
        let _ = self.event.write(1);
    }

    /// Why it is over, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<StopReason>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readable when the machine is over.
impl AsRawFd for Over {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
