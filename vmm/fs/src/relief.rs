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
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use vhost_016::vhost_user::Backend;
use vhost_016::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend_022::{VhostUserBackend, VringT};
use vm_memory_017::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};

use crate::logger;

/// Between two requests for relief: it takes the guest some time.
const PAUSE: Duration = Duration::from_millis(50);
/// How many turns of the device pass between two looks.
const TURNS: u32 = 16;

/// Where relief is asked for.
pub(crate) struct Relief {
    parent: File,
    /// As many open descriptors are too many.
    enough: RawFd,
    state: Mutex<State>,
}

struct State {
    turns: u32,
    asked: Option<Instant>,
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
            state: Mutex::new(State {
                turns: 0,
                asked: None,
            }),
        })
    }

    /// After a turn of the device.
    fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turns += 1;
        if state.turns < TURNS {
            return;
        }
        state.turns = 0;
        let waiting = state.asked.is_some_and(|asked| asked.elapsed() < PAUSE);
        if waiting || !self.too_many() {
            return;
        }
        state.asked = Some(Instant::now());
        // A parent that has not read the last one yet needs no other, and one that
        // is gone takes us with it.
        let _ = (&self.parent).write(&[1]);
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

/// A device that asks for relief.
pub(crate) struct Relieved<B> {
    pub(crate) device: B,
    pub(crate) relief: Option<Relief>,
}

type Memory<B> = GuestMemoryAtomic<GuestMemoryMmap<B>>;

/// The device's own, with a look after each turn. State transfer is left out, and
/// the log of written pages with it: no VM of ours moves, and the thread that the
/// log is prepared by makes calls that the filter does not have.
impl<B: VhostUserBackend> VhostUserBackend for Relieved<B> {
    type Bitmap = B::Bitmap;
    type Vring = B::Vring;

    fn num_queues(&self) -> usize {
        self.device.num_queues()
    }

    fn max_queue_size(&self) -> usize {
        self.device.max_queue_size()
    }

    fn features(&self) -> u64 {
        self.device.features() & !VhostUserVirtioFeatures::LOG_ALL.bits()
    }

    fn acked_features(&self, features: u64) {
        self.device.acked_features(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        self.device.protocol_features() - VhostUserProtocolFeatures::DEVICE_STATE
    }

    fn reset_device(&self) {
        self.device.reset_device();
    }

    fn set_event_idx(&self, enabled: bool) {
        self.device.set_event_idx(enabled);
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.device.get_config(offset, size)
    }

    fn update_memory(&self, memory: Memory<Self::Bitmap>) -> io::Result<()> {
        self.device.update_memory(memory)
    }

    fn set_backend_req_fd(&self, backend: Backend) {
        self.device.set_backend_req_fd(backend);
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        self.device.queues_per_thread()
    }

    fn exit_event(&self, thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        self.device.exit_event(thread)
    }

    fn handle_event(
        &self,
        event: u16,
        set: EventSet,
        vrings: &[Self::Vring],
        thread: usize,
    ) -> io::Result<()> {
        // The VMM has taken the ring back since it was kicked.
        let ring = vrings.get(usize::from(event));
        if ring.is_some_and(|ring| ring.get_ref().get_kick().is_none()) {
            return Ok(());
        }
        logger::begin_turn();
        // The thread would end with the error, and the process go on without one
        // that serves.
        if let Err(error) = self.device.handle_event(event, set, vrings, thread) {
            logger::end(&format!("serve ring {event}: {error}"));
        }
        if let Some(relief) = &self.relief {
            relief.look();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn relief(limit: u64) -> (Relief, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Relief::on(theirs.into_raw_fd(), limit).unwrap(), ours)
    }

    fn asked(parent: &mut UnixStream) -> bool {
        parent.read(&mut [0; 64]).is_ok_and(|length| length > 0)
    }

    #[test]
    fn relief_is_asked_for_now_and_then() {
        let (relief, mut parent) = relief(2);
        for _ in 1..TURNS {
            relief.look();
        }
        assert!(!asked(&mut parent));
        relief.look();
        assert!(asked(&mut parent));
        relief.state.lock().unwrap().asked = Some(Instant::now() + Duration::from_secs(60));
        for _ in 0..4 * TURNS {
            relief.look();
        }
        assert!(!asked(&mut parent), "asked again at once");
    }

    #[test]
    fn few_descriptors_need_none() {
        let (relief, mut parent) = relief(1 << 20);
        for _ in 0..4 * TURNS {
            relief.look();
        }
        assert!(!asked(&mut parent));
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_an_error() {
        assert!(Relief::on(2, 100).is_err());
        assert!(Relief::on(1_000_000_000, 100).is_err());
    }
}
