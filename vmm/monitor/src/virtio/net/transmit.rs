//! From the guest to the tap (virtio 1.2, section 5.1.6.2).

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use virtio_queue::{DescriptorChain, Error};
use vm_memory::GuestMemoryMmap;

use super::packet::{FRAME_HEADER, HEADER, MOST_SENT};
use super::vectors::{MOST, Vectors};
use crate::complaints;
use crate::events::Sources;
use crate::virtio::chain::{Access, BadChain, Pieces};
use crate::virtio::ring::Ring;

/// A queue of packets to send.
pub(super) struct Transmit {
    ring: Ring,
    memory: GuestMemoryMmap,
    vectors: Vectors,
}

impl Transmit {
    pub(super) fn new(ring: Ring, memory: &GuestMemoryMmap) -> Self {
        Self {
            ring,
            memory: memory.clone(),
            vectors: Vectors::new(memory.clone()),
        }
    }

    pub(super) fn watch(&self, sources: &mut Sources, source: u16) -> io::Result<()> {
        self.ring.watch(sources, source)
    }

    /// Sends what is available. A packet that cannot be sent is lost, as on any
    /// wire.
    pub(super) fn serve(&mut self, tap: BorrowedFd<'_>) -> Result<(), Error> {
        let Self {
            ring,
            memory,
            vectors,
        } = self;
        ring.serve_all(memory, |chain| {
            match collect(vectors, chain, memory) {
                Ok(()) => send(vectors, tap),
                Err(error) => complaints::write(format_args!("packet to send is {error}")),
            }
            // Nothing is written to a packet that is sent.
            0
        })
    }
}

fn collect(
    vectors: &mut Vectors,
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
) -> Result<(), BadChain> {
    vectors.clear();
    let (least, most) = (HEADER + FRAME_HEADER, MOST_SENT);
    for piece in Pieces::of(chain, memory, MOST).only(Access::Read) {
        vectors.push(piece?)?;
        if vectors.bytes() > most {
            break;
        }
    }
    match vectors.bytes() {
        bytes if (least..=most).contains(&bytes) => Ok(()),
        bytes => Err(BadChain::Size { bytes, least, most }),
    }
}

fn send(vectors: &Vectors, tap: BorrowedFd<'_>) {
    match vectors.write_to(tap) {
        Ok(_) => {}
        // The host has no room, or the interface is down or gone: nothing that
        // the guest did.
        Err(
            Errno::EAGAIN
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EINTR
            | Errno::EIO
            | Errno::EBADFD,
        ) => {}
        Err(errno) => complaints::write(format_args!("packet to send is refused: {errno}")),
    }
}

#[cfg(test)]
mod tests;
