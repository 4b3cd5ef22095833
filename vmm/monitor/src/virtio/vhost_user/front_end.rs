//! The front end: what the driver wrote to the registers goes to the device's
//! process.
//!
//! ```text
//! features   owner, features, protocol features      when a driver asks
//! start      features, memory, rings, kicks, calls   when it is ready
//! stop       rings taken back                        when it resets the device
//! ```
//!
//! The other process is waited for in `features`, by when it has long been
//! started, in `stop`, and where its socket is full. One that hangs keeps the
//! thread that talks to it: its own pod is lost, and no other.

use std::borrow::Cow;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap};

use super::identity::Identity;
use crate::events::{Interest, Sources};
use crate::virtio::device::{Device, DeviceError, Interrupt, ReadyQueue, Served, Start};

/// A device process that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VhostUserError {
    /// It did not take, or did not answer, a message.
    #[error("{step} the {device} device's process")]
    Request {
        /// What was attempted.
        step: &'static str,
        /// Which device.
        device: &'static str,
        /// Why.
        #[source]
        source: vhost::Error,
    },
    /// Its socket cannot be used.
    #[error("use the socket of the {device} device's process")]
    Socket {
        /// Which device.
        device: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A ring's address has no counterpart here.
    #[error("find a ring of the {device} device in guest memory")]
    Ring {
        /// Which device.
        device: &'static str,
        /// Why.
        #[source]
        source: GuestMemoryError,
    },
    /// It is gone.
    #[error("the {device} device's process has hung up")]
    Gone {
        /// Which device.
        device: &'static str,
    },
}

/// A device that another process serves.
pub struct VhostUser {
    identity: Identity,
    socket: UnixStream,
    front_end: Frontend,
    running: Option<Running>,
}

struct Running {
    queues: Vec<usize>,
    _sources: Sources,
}

const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

impl VhostUser {
    /// Over a connection to its process.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn new(identity: Identity, socket: UnixStream) -> Result<Self, VhostUserError> {
        let device = identity.name;
        let other = socket
            .try_clone()
            .map_err(|source| VhostUserError::Socket { device, source })?;
        let queues = identity.queue_sizes.len() as u64;
        Ok(Self {
            front_end: Frontend::from_stream(other, queues),
            identity,
            socket,
            running: None,
        })
    }

    fn failed(&self, step: &'static str) -> impl Fn(vhost::Error) -> VhostUserError + use<> {
        let device = self.identity.name;
        move |source| VhostUserError::Request {
            step,
            device,
            source,
        }
    }

    fn negotiate(&mut self) -> Result<u64, VhostUserError> {
        let failed = self.failed("agree on features with");
        let front_end = &mut self.front_end;
        front_end.set_owner().map_err(&failed)?;
        let offered = front_end.get_features().map_err(&failed)?;
        if offered & PROTOCOL_FEATURES != 0 {
            front_end.get_protocol_features().map_err(&failed)?;
            // Several queues, and nothing else: no extension is used.
            front_end
                .set_protocol_features(VhostUserProtocolFeatures::MQ)
                .map_err(&failed)?;
        }
        Ok(offered)
    }

    fn share_memory(&self, memory: &GuestMemoryMmap) -> Result<(), VhostUserError> {
        let regions: Result<Vec<_>, _> = memory
            .iter()
            .map(VhostUserMemoryRegionInfo::from_guest_region)
            .collect();
        let failed = self.failed("share memory with");
        regions
            .and_then(|regions| self.front_end.set_mem_table(&regions))
            .map(drop)
            .map_err(failed)
    }

    fn start_queue(
        &mut self,
        index: usize,
        ready: &ReadyQueue,
        memory: &GuestMemoryMmap,
        interrupt: &Interrupt,
    ) -> Result<(), VhostUserError> {
        let failed = self.failed("give a queue to");
        let queue = &ready.queue;
        let rings = self.rings(ready, memory)?;
        let front_end = &mut self.front_end;
        front_end
            .set_vring_num(index, queue.size())
            .and_then(|()| front_end.set_vring_base(index, 0))
            .and_then(|()| front_end.set_vring_addr(index, &rings))
            .and_then(|()| front_end.set_vring_call(index, interrupt.event()))
            .and_then(|()| front_end.set_vring_kick(index, &ready.kick))
            .and_then(|()| front_end.set_vring_enable(index, true))
            .map_err(failed)
    }

    /// The protocol names a ring by its address in this process.
    fn rings(
        &self,
        ready: &ReadyQueue,
        memory: &GuestMemoryMmap,
    ) -> Result<VringConfigData, VhostUserError> {
        let device = self.identity.name;
        let here = |address| {
            let host = memory.get_host_address(GuestAddress(address));
            host.map(|pointer| pointer as u64)
                .map_err(|source| VhostUserError::Ring { device, source })
        };
        let queue = &ready.queue;
        Ok(VringConfigData {
            queue_max_size: queue.max_size(),
            queue_size: queue.size(),
            flags: 0,
            desc_table_addr: here(queue.desc_table())?,
            used_ring_addr: here(queue.used_ring())?,
            avail_ring_addr: here(queue.avail_ring())?,
            log_addr: None,
        })
    }
}

impl Device for VhostUser {
    fn name(&self) -> &'static str {
        self.identity.name
    }

    fn kind(&self) -> u32 {
        self.identity.kind
    }

    fn queue_sizes(&self) -> &[u16] {
        self.identity.queue_sizes
    }

    /// Without the bit by which the protocol itself is extended, which means
    /// nothing to a driver.
    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(self.negotiate()? & !PROTOCOL_FEATURES)
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.identity.config)
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let device = self.identity.name;
        let mut sources = start.sources;
        sources
            .watch(self.socket.as_fd(), 0, Interest::HangUp)
            .map_err(|source| DeviceError::Events { device, source })?;
        let features = start.features | PROTOCOL_FEATURES;
        self.front_end
            .set_features(features)
            .map_err(self.failed("agree on features with"))?;
        self.share_memory(&start.memory)?;
        let mut queues = Vec::new();
        for (index, queue) in start.queues.iter().enumerate() {
            let Some(queue) = queue else { continue };
            self.start_queue(index, queue, &start.memory, &start.interrupt)?;
            queues.push(index);
        }
        self.running = Some(Running {
            queues,
            _sources: sources,
        });
        Ok(())
    }

    fn serve(&mut self, _source: u16) -> Result<Served, DeviceError> {
        match self.running {
            None => Ok(Served::Quiet),
            Some(_) => Err(VhostUserError::Gone {
                device: self.identity.name,
            }
            .into()),
        }
    }

    /// Asking for a ring's position takes the ring back.
    fn stop(&mut self) -> Result<(), DeviceError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        for index in running.queues {
            self.front_end
                .get_vring_base(index)
                .map_err(self.failed("take a queue back from"))?;
        }
        Ok(())
    }
}
