//! What the transport asks of a device, and gives to it.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::blk::engine::EngineError;
use super::net::VhostNetError;
use super::vhost_user::VhostUserError;
use crate::events::Sources;

/// A device that cannot work. The machine ends with it: what a guest does with
/// half of its devices nobody has tried.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Its process is gone, or broke the protocol.
    #[error(transparent)]
    VhostUser(#[from] VhostUserError),
    /// Its work is not done.
    #[error(transparent)]
    Disk(#[from] EngineError),
    /// The host's kernel does not do its work.
    #[error(transparent)]
    VhostNet(#[from] VhostNetError),
    /// Its descriptors cannot be waited for.
    #[error("wait for events of the {device} device")]
    Events {
        /// Which.
        device: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A virtio device, without the transport by which drivers reach it.
///
/// Its calls come under the lock of its slot: from a processor's thread when
/// the driver sets it up, from the main thread when a descriptor that it
/// watches is ready. None may wait for the guest.
pub trait Device: Send {
    /// For texts: `rng`.
    fn name(&self) -> &'static str;

    /// Its number in virtio 1.2, section 5.
    fn kind(&self) -> u32;

    /// Whether a guest can do without it, once its driver has let go of it.
    fn is_pluggable(&self) -> bool {
        false
    }

    /// The most entries of each of its queues.
    fn queue_sizes(&self) -> &[u16];

    /// The features that it offers. Asked for when a driver wants to know, not
    /// before: a device process may still be starting.
    ///
    /// # Errors
    /// When the device cannot work.
    fn features(&mut self) -> Result<u64, DeviceError>;

    /// Its configuration, as its section in virtio 1.2 lays it out.
    fn config(&self) -> Cow<'_, [u8]>;

    /// The driver writes `bytes` at `offset` of the configuration. Whatever it
    /// is, it is no error: most fields are not for writing.
    fn write_config(&mut self, offset: usize, bytes: &[u8]) {
        let _ = (offset, bytes);
    }

    /// The driver is ready. Not called again before [`Self::stop`].
    ///
    /// # Errors
    /// When the device cannot work.
    fn start(&mut self, start: Start) -> Result<(), DeviceError>;

    /// A descriptor that it watches under `source` is ready. May come late,
    /// after [`Self::stop`].
    ///
    /// # Errors
    /// When the device cannot go on.
    fn serve(&mut self, source: u16) -> Result<Served, DeviceError>;

    /// The driver can read the configuration that [`Served::ConfigRewritten`]
    /// was about.
    ///
    /// # Errors
    /// When the device cannot go on.
    fn config_shown(&mut self) -> Result<Served, DeviceError> {
        Ok(Served::Quiet)
    }

    /// The machine is paused, and its processors with it. What serves the device
    /// outside of the main thread is to touch no queue when this returns.
    ///
    /// # Errors
    /// When it cannot be made sure of that.
    fn hold(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The machine is about to go on.
    ///
    /// # Errors
    /// When the device cannot.
    fn go_on(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The driver has reset the device: it is to touch no queue when this
    /// returns, and to drop what [`Self::start`] gave it.
    ///
    /// # Errors
    /// When it cannot be made sure of that.
    fn stop(&mut self) -> Result<(), DeviceError>;
}

/// What serving led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing that the transport has to know.
    Quiet,
    /// The configuration is another now.
    ConfigChanged,
    /// It is another, by what the driver asked for: it is not told, but sees it
    /// before [`Device::config_shown`] is called.
    ConfigRewritten,
    /// The driver left a queue in a state that makes no sense.
    NeedsReset,
}

impl Served {
    /// Of a device whose queue makes no sense: what it worked with is dropped,
    /// so that nothing is watched until the driver has reset the device.
    pub fn broken<R>(running: &mut Option<R>) -> Self {
        *running = None;
        Self::NeedsReset
    }
}

/// What a device works with between start and stop.
pub struct Start {
    /// What the driver accepted of the features offered.
    pub features: u64,
    /// By number; a driver need not use all.
    pub queues: Vec<Option<ReadyQueue>>,
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// How to tell the driver.
    pub interrupt: Interrupt,
    /// How to hear from descriptors. Dropped, it forgets them.
    pub sources: Sources,
}

/// A queue that is in use.
pub struct ReadyQueue {
    /// Its rings.
    pub queue: Queue,
    /// Readable when the driver has made buffers available.
    pub kick: Arc<EventFd>,
}

/// Interrupts the guest. KVM does it, without this process, whenever somebody
/// writes to the descriptor.
#[derive(Clone)]
pub struct Interrupt(Arc<EventFd>);

impl Interrupt {
    /// By an event descriptor that KVM has as the slot's interrupt.
    #[must_use]
    pub fn new(call: Arc<EventFd>) -> Self {
        Self(call)
    }

    /// Tells the driver that buffers were used.
    pub fn notify(&self) {
        // Full at 2^64 - 2 interrupts that KVM has not taken: it takes them at
        // once.
        let _ = self.0.write(1);
    }

    /// The descriptor, for a device process to write to.
    #[must_use]
    pub fn event(&self) -> &EventFd {
        &self.0
    }
}
