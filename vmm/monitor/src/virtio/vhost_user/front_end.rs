//! The front end: what the driver wrote to the registers goes to the device's
//! process.
//!
//! ```text
//! features   owner, features, protocol features      when a driver asks
//! start      features, memory, rings, kicks, calls   when it is ready
//! stop       rings taken back, device reset          when it resets the device
//! ```
//!
//! The other process is waited for in `features` and in `stop`, for so long and no
//! longer: one that hangs, by what a driver does maybe, must not keep the thread
//! that talks to it, which has the lock of the device's slot.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
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
    /// It gives no answer, or one that makes no sense.
    #[error("{step} the {device} device's process")]
    Answer {
        /// What was attempted.
        step: &'static str,
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
    /// Read and written as a file: the system call filter has no call that only
    /// sockets have.
    socket: File,
    front_end: Frontend,
    resets: bool,
    running: Option<Running>,
}

struct Running {
    queues: Vec<usize>,
    _sources: Sources,
}

const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// What a driver may accept. A process offers more: what the protocol itself is
/// extended by, and that it notes its writes for a machine that moves.
const FOR_DRIVERS: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;

/// For an answer: before it lets go of a queue, a process may have requests of a
/// slow disk to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// `VHOST_USER_GET_FEATURES` and `VHOST_USER_GET_VRING_BASE`.
const GET_FEATURES: u32 = 1;
const GET_VRING_BASE: u32 = 11;
/// Flags of a message: version 1; of an answer.
const REQUEST: u32 = 1;
const ANSWER: u32 = 5;

impl VhostUser {
    /// Over a connection to its process.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn new(identity: Identity, socket: UnixStream) -> Result<Self, VhostUserError> {
        let device = identity.name;
        let other = socket
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| socket.try_clone())
            .map_err(|source| VhostUserError::Socket { device, source })?;
        let queues = identity.queue_sizes.len() as u64;
        Ok(Self {
            front_end: Frontend::from_stream(other, queues),
            identity,
            socket: OwnedFd::from(socket).into(),
            resets: false,
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
        self.front_end.set_owner().map_err(&failed)?;
        // Twice: the library, which has to know them, would wait for ever.
        self.ask("agree on features with", GET_FEATURES, &[])?;
        let front_end = &mut self.front_end;
        let offered = front_end.get_features().map_err(&failed)?;
        if offered & PROTOCOL_FEATURES != 0 {
            let known = front_end.get_protocol_features().map_err(&failed)?;
            // Several queues and resets, and nothing else: no other extension is
            // used.
            let reset = known & VhostUserProtocolFeatures::RESET_DEVICE;
            front_end
                .set_protocol_features(VhostUserProtocolFeatures::MQ | reset)
                .map_err(&failed)?;
            self.resets = !reset.is_empty();
        }
        Ok(offered)
    }

    /// The two words of an answer, in time.
    ///
    /// Not by way of the library, which asks again and again for one that does not
    /// come.
    fn ask(
        &self,
        step: &'static str,
        request: u32,
        body: &[u32],
    ) -> Result<[u32; 2], VhostUserError> {
        self.ask_within_patience(request, body).map_err(|source| {
            let device = self.identity.name;
            VhostUserError::Answer {
                step,
                device,
                source,
            }
        })
    }

    fn ask_within_patience(&self, request: u32, body: &[u32]) -> io::Result<[u32; 2]> {
        let size = u32::try_from(size_of_val(body)).map_err(io::Error::other)?;
        let message = [&[request, REQUEST, size], body].concat();
        let message: Vec<_> = message.iter().flat_map(|word| word.to_ne_bytes()).collect();
        (&self.socket).write_all(&message)?;
        let mut answer = [[0; 4]; 5];
        let read = (&self.socket).read_exact(answer.as_flattened_mut());
        read.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => no_answer(),
            _ => error,
        })?;
        match answer.map(u32::from_ne_bytes) {
            [of, ANSWER, 8, first, second] if of == request => Ok([first, second]),
            other => Err(io::Error::other(format!("the answer is {other:?}"))),
        }
    }

    /// Asking for a ring's position takes the ring back.
    fn take_back(&self, queue: usize) -> Result<(), VhostUserError> {
        // There are as few queues as a device has.
        let index = u32::try_from(queue).unwrap_or(u32::MAX);
        self.ask("take a queue back from", GET_VRING_BASE, &[index, 0])
            .map(drop)
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

    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(self.negotiate()? & FOR_DRIVERS)
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

    /// What the driver had the process remember is not the next one's. The reset
    /// is not waited for: whatever is sent later comes after it.
    fn stop(&mut self) -> Result<(), DeviceError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        for queue in running.queues {
            self.take_back(queue)?;
        }
        if self.resets {
            let reset = self.front_end.reset_device();
            reset.map_err(self.failed("reset"))?;
        }
        Ok(())
    }
}

fn no_answer() -> io::Error {
    let seconds = PATIENCE.as_secs();
    io::Error::other(format!("no answer within {seconds} s"))
}

#[cfg(test)]
mod tests;
