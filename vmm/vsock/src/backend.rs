//! The device as vhost-user sees it.

use crate::device::{Device, Shim};
use crate::ring::{self, Pass, receive, transmit};
use std::io;
use std::time::Duration;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{ShutdownHandle, VhostUserBackendMut, VringMutex, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

/// The event of [`Device::host_events`]. The numbers up to that of the queues
/// are taken.
pub const HOST_EVENTS: u16 = 4;

/// Turns that both queues get in a row before the host's side has one.
const ROUNDS: usize = 4;

/// The device with the memory of its guest.
pub struct Backend {
    device: Device,
    guest_cid: u64,
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    /// Ends the connection to the VMM.
    hang_up: Option<ShutdownHandle>,
    /// The queue with packets of the guest, once it was served.
    tx: Option<VringMutex>,
}

impl Backend {
    /// `memory` is what the front end's memory tables are put into.
    #[must_use]
    pub fn new(device: Device, guest_cid: u32, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> Self {
        Self {
            device,
            guest_cid: guest_cid.into(),
            memory,
            hang_up: None,
            tx: None,
        }
    }

    /// The device without its queues.
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }

    /// What to do when the shim is gone.
    pub fn hang_up_with(&mut self, handle: ShutdownHandle) {
        self.hang_up = Some(handle);
    }

    /// The VMM is gone: hands on what the guest sent before, for at most
    /// `patience`.
    pub fn finish(&mut self, patience: Duration) {
        if let Some(tx) = self.tx.take() {
            self.serve_tx(&tx);
        }
        self.device.finish(patience);
    }

    fn serve_host(&mut self) {
        if self.device.serve_host() == Shim::Gone
            && let Some(hang_up) = &self.hang_up
        {
            hang_up.shutdown();
        }
    }

    fn serve_queues(&mut self, vrings: &[VringMutex]) {
        for _ in 0..ROUNDS {
            let sent = self.serve_tx(&vrings[ring::TX]);
            let was_congested = !self.device.takes_packets();
            let received = self.serve_rx(&vrings[ring::RX]);
            let resumes = was_congested && self.device.takes_packets();
            if sent == Pass::Idle && received == Pass::Idle && !resumes {
                return;
            }
        }
        self.device.come_back();
    }

    fn serve_tx(&mut self, vring: &VringMutex) -> Pass {
        let memory = self.memory.memory();
        let served = transmit::serve(&mut vring.get_mut(), &memory, &mut self.device);
        self.unless_broken(ring::TX, served)
    }

    fn serve_rest_of_tx(&mut self, vring: &VringMutex) {
        let memory = self.memory.memory();
        let served = transmit::serve_rest(&mut vring.get_mut(), &memory, &mut self.device);
        self.unless_broken(ring::TX, served.map(|()| Pass::Idle));
    }

    fn serve_rx(&mut self, vring: &VringMutex) -> Pass {
        let memory = self.memory.memory();
        let served = receive::serve(&mut vring.get_mut(), &memory, &mut self.device);
        self.unless_broken(ring::RX, served)
    }

    /// A queue that makes no sense is left alone until the guest notifies us
    /// again.
    fn unless_broken(&mut self, queue: usize, served: Result<Pass, virtio_queue::Error>) -> Pass {
        served.unwrap_or_else(|error| {
            self.device.complain_about_queue(queue, &error);
            Pass::Idle
        })
    }
}

impl VhostUserBackendMut for Backend {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        ring::COUNT
    }

    fn max_queue_size(&self) -> usize {
        ring::MAX_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::RESET_DEVICE
    }

    fn reset_device(&mut self) {
        self.device.reset();
    }

    /// The queues know it themselves.
    fn set_event_idx(&mut self, _enabled: bool) {}

    /// `guest_cid` (virtio 1.2, section 5.10.4), or the part asked for.
    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = self.guest_cid.to_le_bytes();
        let (offset, size) = (offset as usize, size as usize);
        offset
            .checked_add(size)
            .and_then(|end| config.get(offset..end))
            .map(<[u8]>::to_vec)
            .unwrap_or_default()
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    /// Ends the thread that serves the queues. Without one, the end of the
    /// process would wait for it forever.
    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::CLOEXEC | EventFlag::NONBLOCK).ok()
    }

    /// The queue is being taken back: the machine is paused, or at its end.
    fn stop_vring(&mut self, queue: u32) -> io::Result<()> {
        if usize::try_from(queue) == Ok(ring::TX)
            && let Some(tx) = self.tx.clone()
        {
            self.serve_rest_of_tx(&tx);
        }
        Ok(())
    }

    fn handle_event(
        &mut self,
        event: u16,
        _readiness: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        self.tx.get_or_insert_with(|| vrings[ring::TX].clone());
        if event == HOST_EVENTS {
            self.serve_host();
        }
        self.serve_queues(vrings);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::chain::Access;
    use crate::ring::driver::Driver;
    use crate::state::packet::Header;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use virtio_queue::QueueT;

    fn backend(guest_cid: u32) -> Backend {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        backend_with(guest_cid, memory)
    }

    fn backend_with(guest_cid: u32, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> Backend {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (handover, shim) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        // The shim stays for as long as the test.
        std::mem::forget(shim);
        let device = Device::new(guest_cid, vec![1024], handover).unwrap();
        Backend::new(device, guest_cid, memory)
    }

    /// For a connection of guest 3.
    fn request() -> Header {
        Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: 7,
            dst_port: 1024,
            kind: 1,
            op: 1,
            ..Header::default()
        }
    }

    #[test]
    fn the_configuration_is_the_context_id() {
        let backend = backend(0x0102_0304);
        assert_eq!(backend.get_config(0, 8), [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(backend.get_config(4, 4), [0; 4]);
    }

    /// The guest's last packet, whose notification comes too late.
    #[test]
    fn what_was_available_when_the_queue_is_taken_back_is_not_lost() {
        let mut tx = Driver::new();
        let mut backend = backend_with(3, tx.memory.clone());
        let vrings = [Driver::new().vring, tx.vring.clone(), Driver::new().vring];
        backend.handle_event(1, EventSet::IN, &vrings, 0).unwrap();
        tx.start();
        let part = tx.place(&request().encode());
        tx.offer(&[part], Access::Read);
        tx.vring.set_enabled(false);
        tx.vring.set_queue_ready(false);
        backend.stop_vring(0).unwrap();
        assert_eq!(tx.used(), []);
        backend.stop_vring(1).unwrap();
        assert_eq!(tx.used().len(), 1);
        assert_eq!(backend.device().connections().len(), 1);
        assert!(!tx.vring.get_ref().get_queue().ready());
        assert_eq!(tx.vring.queue_next_avail(), 1);
    }

    #[test]
    fn a_reset_leaves_no_connection() {
        let mut tx = Driver::new();
        let mut backend = backend_with(3, tx.memory.clone());
        let features = backend.protocol_features();
        assert!(features.contains(VhostUserProtocolFeatures::RESET_DEVICE));
        let vrings = [Driver::new().vring, tx.vring.clone(), Driver::new().vring];
        tx.start();
        let part = tx.place(&request().encode());
        tx.offer(&[part], Access::Read);
        backend.handle_event(1, EventSet::IN, &vrings, 0).unwrap();
        assert_eq!(backend.device().connections().len(), 1);
        backend.reset_device();
        assert!(backend.device().connections().is_empty());
    }

    #[test]
    fn there_is_nothing_behind_the_configuration() {
        let backend = backend(3);
        assert_eq!(backend.get_config(4, 5), []);
        assert_eq!(backend.get_config(u32::MAX, u32::MAX), []);
    }
}
