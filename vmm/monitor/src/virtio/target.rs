//! How much memory the shim wants a device to give or to hold, and what has
//! become of it: shared between the device and whoever asks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Bytes that are wanted, and that are there.
pub struct Target {
    wanted: AtomicU64,
    there: AtomicU64,
    changed: EventFd,
}

impl Target {
    /// Nothing, and nothing.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            wanted: AtomicU64::new(0),
            there: AtomicU64::new(0),
            changed: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        }))
    }

    /// Has the device tell its driver that it is to be `bytes`, once there is a
    /// driver.
    pub fn want(&self, bytes: u64) {
        self.wanted.store(bytes, Ordering::Relaxed);
        // Full only if nobody has read it 2^64 times.
        let _ = self.changed.write(1);
    }

    /// Bytes that are there.
    #[must_use]
    pub fn there(&self) -> u64 {
        self.there.load(Ordering::Relaxed)
    }

    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn has(&self, bytes: u64) {
        self.there.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn acknowledge(&self) {
        // Empty if it was taken already.
        let _ = self.changed.read();
    }

    #[allow(unsafe_code)] // The type lends its descriptor by number only.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self` is there.
        unsafe { BorrowedFd::borrow_raw(self.changed.as_raw_fd()) }
    }
}
