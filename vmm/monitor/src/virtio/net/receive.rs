//! From the tap to the guest (virtio 1.2, section 5.1.6.3).
//!
//! A packet is read right into the guest's buffers, so they have to be there,
//! and enough for whatever packet may come, before it is read: see [`Buffers`].

mod buffers;

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use virtio_queue::Error;
use vm_memory::GuestMemoryMmap;

use self::buffers::{Added, Buffers};
use super::packet::{HEADER, NUM_BUFFERS};
use super::vectors::Received;
use crate::complaints;
use crate::events::Sources;
use crate::virtio::ring::{BUDGET, Ring};

/// Why receiving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The tap has no more packets.
    Drained,
    /// The guest has no more buffers. A kick tells when it has.
    Starved,
    /// It was enough for once.
    Enough,
    /// A packet could not be read: the tap has dropped it, or is gone.
    Failed(Errno),
}

/// A queue of buffers to receive into.
pub(super) struct Receive {
    ring: Ring,
    memory: GuestMemoryMmap,
    buffers: Buffers,
}

/// What the driver gets for a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// It may lie in several buffers.
    pub(super) merges: bool,
    /// Bytes of the longest, header included.
    pub(super) longest: usize,
}

impl Receive {
    pub(super) fn new(ring: Ring, memory: &GuestMemoryMmap, manner: Manner) -> Self {
        Self {
            ring,
            memory: memory.clone(),
            buffers: Buffers::new(memory, manner),
        }
    }

    pub(super) fn watch(&self, sources: &mut Sources, source: u16) -> io::Result<()> {
        self.ring.watch(sources, source)
    }

    /// Takes note of the guest's kick.
    pub(super) fn acknowledge(&self) {
        self.ring.acknowledge();
    }

    /// Receives what there is.
    pub(super) fn serve(&mut self, tap: BorrowedFd<'_>) -> Result<Pass, Error> {
        let mut budget = BUDGET;
        let pass = loop {
            if let Some(pass) = self.gather(&mut budget)? {
                break pass;
            }
            match self.buffers.vectors.read_from(tap) {
                Ok(received) => self.deliver(received)?,
                Err(Errno::EAGAIN | Errno::EINTR) => break Pass::Drained,
                Err(errno) => break Pass::Failed(errno),
            }
        };
        self.ring.tell(&self.memory)?;
        Ok(pass)
    }

    /// Takes as many buffers as a packet may need. The reason, if there is no
    /// going on. Each packet and each buffer that is none costs.
    fn gather(&mut self, budget: &mut u16) -> Result<Option<Pass>, Error> {
        while !self.buffers.suffice(self.ring.size()) {
            match self.ring.take(&self.memory)? {
                None if self.ring.rearm(&self.memory)? => *budget = budget.saturating_sub(1),
                None => return Ok(Some(Pass::Starved)),
                Some(chain) => {
                    let head = chain.head_index();
                    if let Added::Refused(error) = self.buffers.add(chain, &self.memory) {
                        complaints::write(format_args!("buffer to receive into is {error}"));
                        self.ring.give_back(&self.memory, head, 0)?;
                        self.ring.show(&self.memory)?;
                        *budget = budget.saturating_sub(1);
                    }
                }
            }
            if *budget == 0 {
                return Ok(Some(Pass::Enough));
            }
        }
        match budget.checked_sub(1) {
            None => Ok(Some(Pass::Enough)),
            Some(left) => {
                *budget = left;
                Ok(None)
            }
        }
    }

    /// Gives the guest the packet that its first buffers hold.
    fn deliver(&mut self, received: Received) -> Result<(), Error> {
        if received.cut || received.bytes < HEADER {
            // The buffers are as good for the next packet.
            complaints::write(format_args!("buffers have no room for a packet: lost"));
            return Ok(());
        }
        // Of Ethernet and little-endian, as the rest of the header is
        // (virtio 1.2, section 5.1.6.1). The tap leaves this field alone.
        let count = self.buffers.holding(received.bytes);
        self.buffers.vectors.put(NUM_BUFFERS, &count.to_le_bytes());
        let mut left = received.bytes;
        for _ in 0..count {
            if let Some(buffer) = self.buffers.pop() {
                let bytes = left.min(buffer.bytes);
                left -= bytes;
                let written = u32::try_from(bytes).unwrap_or(u32::MAX);
                self.ring.give_back(&self.memory, buffer.head, written)?;
            }
        }
        // All at once: a driver that finds some takes the others for lost.
        self.ring.show(&self.memory)
    }
}

#[cfg(test)]
mod tests;
