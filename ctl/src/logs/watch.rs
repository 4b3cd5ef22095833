//! Being told that a folder's files change.

// Reason: registering a descriptor with tokio is unsafe, and tokio has no
// type of its own for inotify.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// A watched folder.
#[derive(Debug)]
pub(super) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// Watches for writes to the files of `folder`, and for new files.
    pub(super) fn folder(folder: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(folder, changes)?;
        // SAFETY: the AsyncFd owns the descriptor, which stays open and the same
        // until the AsyncFd is dropped; nothing takes it out.
        let queue = unsafe { AsyncFd::register(OwnedFd::from(inotify))? };
        Ok(Self(queue))
    }

    /// Waits for a change since the last call. May return early. Safe to
    /// cancel.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        // What happened does not matter, only that it is taken from the queue.
        let mut events = [0; 4096];
        let _ = ready.try_io(|queue| Ok(nix::unistd::read(queue.get_ref(), &mut events)?));
        Ok(())
    }
}
