//! The device as its process has it: virtiofsd's, of which each turn with a ring is
//! seen from outside.

use std::io;

use vhost_016::vhost_user::Backend;
use vhost_016::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend_022::{VhostUserBackend, VringT};
use vm_memory_017::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};

use crate::logger;
use crate::relief::Turns;

/// A device whose turns are told.
pub(crate) struct Device<B> {
    pub(crate) served: B,
    pub(crate) turns: Option<Turns>,
}

type Memory<B> = GuestMemoryAtomic<GuestMemoryMmap<B>>;

/// State transfer is left out, and the log of written pages with it: no VM of ours
/// moves, and the thread that the log is prepared by makes calls that the filter does
/// not have.
impl<B: VhostUserBackend> VhostUserBackend for Device<B> {
    type Bitmap = B::Bitmap;
    type Vring = B::Vring;

    fn num_queues(&self) -> usize {
        self.served.num_queues()
    }

    fn max_queue_size(&self) -> usize {
        self.served.max_queue_size()
    }

    fn features(&self) -> u64 {
        self.served.features() & !VhostUserVirtioFeatures::LOG_ALL.bits()
    }

    fn acked_features(&self, features: u64) {
        self.served.acked_features(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        self.served.protocol_features() - VhostUserProtocolFeatures::DEVICE_STATE
    }

    fn reset_device(&self) {
        self.served.reset_device();
    }

    fn set_event_idx(&self, enabled: bool) {
        self.served.set_event_idx(enabled);
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.served.get_config(offset, size)
    }

    fn update_memory(&self, memory: Memory<Self::Bitmap>) -> io::Result<()> {
        self.served.update_memory(memory)
    }

    fn set_backend_req_fd(&self, backend: Backend) {
        self.served.set_backend_req_fd(backend);
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        self.served.queues_per_thread()
    }

    fn exit_event(&self, thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        self.served.exit_event(thread)
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
        let _turn = self.turns.as_ref().map(Turns::begin);
        // The thread would end with the error, and the process go on without one
        // that serves.
        if let Err(error) = self.served.handle_event(event, set, vrings, thread) {
            logger::end(&format!("serve ring {event}: {error}"));
        }
        Ok(())
    }
}
