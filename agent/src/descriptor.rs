//! File descriptors in the event loop.
#![allow(
    unsafe_code,
    reason = "the event loop's safe constructor is deprecated"
)]

use std::io;

use rustix::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes `fd` known to the event loop.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` in an `AsyncFd` is neither replaced nor closed before
    // it is taken out of the event loop.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
