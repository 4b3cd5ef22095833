//! Asks for relief when the guest has this process hold many files open.
//!
//! Each inode that the guest knows is a descriptor here, and a guest forgets
//! inodes only when it wants the memory. One that walks through more files than
//! there are descriptors would get ENFILE in the end, though it uses none of them
//! any more. So beyond half of the descriptors the parent is told, which has the
//! guest drop what it merely remembers.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

/// Between two looks, and two requests for relief: it takes the guest some time.
const PAUSE: Duration = Duration::from_millis(50);

/// Where relief is asked for.
pub(crate) struct Relief {
    parent: File,
    /// As many open descriptors are too many.
    enough: RawFd,
}

impl Relief {
    /// Asks on the descriptor `fd`, which was inherited, once half of `limit` are
    /// open.
    ///
    /// # Errors
    ///
    /// If there is none at `fd`.
    #[allow(unsafe_code, reason = "a descriptor is inherited by number")]
    pub(crate) fn on(fd: RawFd, limit: u64) -> io::Result<Self> {
        if fd <= libc::STDERR_FILENO {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: nothing else in this process knows the number. One that is not
        // open is found out below, before it is used or closed.
        let parent = unsafe { OwnedFd::from_raw_fd(fd) };
        if let Err(error) = fcntl(&parent, FcntlArg::F_GETFD) {
            std::mem::forget(parent);
            return Err(error.into());
        }
        Ok(Self {
            parent: parent.into(),
            enough: RawFd::try_from(limit / 2).unwrap_or(RawFd::MAX),
        })
    }

    /// Looks now and then from a thread of its own, as long as turns of the device
    /// are told. A turn is no measure: several processors of a guest can make one
    /// last as long as they like.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(crate) fn watch(self) -> io::Result<Turns> {
        let state = Arc::new(State::default());
        let looks = Arc::clone(&state);
        let watcher = thread::Builder::new().name("relief".to_owned());
        let watcher = watcher.spawn(move || {
            loop {
                looks.await_turn();
                pause();
                self.look();
            }
        })?;
        Ok(Turns {
            state,
            watcher: watcher.thread().clone(),
        })
    }

    fn look(&self) {
        if self.too_many() {
            // A parent that has not read the last one yet needs no other, and one
            // that is gone takes us with it.
            let _ = (&self.parent).write(&[1]);
        }
    }

    /// A new descriptor gets the least number that is free: if that is high, as
    /// many are taken.
    fn too_many(&self) -> bool {
        match self.parent.try_clone() {
            Ok(least) => least.as_raw_fd() >= self.enough,
            Err(_) => true,
        }
    }
}

/// Whoever wakes this thread meanwhile has said so in the state.
fn pause() {
    let end = Instant::now() + PAUSE;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// The turns of a device, as who looks hears of them.
pub(crate) struct Turns {
    state: Arc<State>,
    watcher: Thread,
}

#[derive(Default)]
struct State {
    /// How many are under way.
    running: AtomicUsize,
    /// Whether one has begun since the last look.
    begun: AtomicBool,
}

/// A turn that is under way.
pub(crate) struct Turn<'a>(&'a State);

impl Turns {
    /// A turn begins. It ends with what is returned.
    pub(crate) fn begin(&self) -> Turn<'_> {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if !self.state.begun.swap(true, Ordering::SeqCst) {
            self.watcher.unpark();
        }
        Turn(&self.state)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    /// An idle guest costs nothing.
    fn await_turn(&self) {
        while !self.begun.swap(false, Ordering::SeqCst) && self.running.load(Ordering::SeqCst) == 0
        {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Longer than a look takes to come.
    const SOON: Duration = Duration::from_secs(10);
    /// As long as several looks.
    const WHILE: Duration = Duration::from_millis(300);

    fn relief(limit: u64) -> (Relief, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Relief::on(theirs.into_raw_fd(), limit).unwrap(), ours)
    }

    fn asked(parent: &mut UnixStream, within: Duration) -> bool {
        parent.set_read_timeout(Some(within)).unwrap();
        parent.read(&mut [0; 64]).is_ok_and(|length| length > 0)
    }

    #[test]
    fn relief_is_asked_for_after_a_turn() {
        let (relief, mut parent) = relief(2);
        let turns = relief.watch().unwrap();
        assert!(!asked(&mut parent, WHILE), "nothing has happened");
        drop(turns.begin());
        assert!(asked(&mut parent, SOON));
        assert!(!asked(&mut parent, WHILE), "once for one turn");
    }

    #[test]
    fn a_turn_without_an_end_is_looked_at_again_and_again() {
        let (relief, mut parent) = relief(2);
        let turns = relief.watch().unwrap();
        let turn = turns.begin();
        for _ in 0..3 {
            assert!(asked(&mut parent, SOON));
        }
        drop(turn);
        while asked(&mut parent, WHILE) {}
    }

    #[test]
    fn few_descriptors_need_none() {
        let (relief, mut parent) = relief(1 << 20);
        let turns = relief.watch().unwrap();
        let _turn = turns.begin();
        assert!(!asked(&mut parent, WHILE));
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_an_error() {
        assert!(Relief::on(2, 100).is_err());
        assert!(Relief::on(1_000_000_000, 100).is_err());
    }
}
