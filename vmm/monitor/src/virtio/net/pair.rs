//! A pair of queues with its tap.
//!
//! The tap is watched while the guest has buffers for what it gives. Without
//! any, packets wait in the tap, and nobody is woken for them before the guest
//! kicks: a flood from the network costs a guest that does not read nothing.

use std::io;

use vm_memory::GuestMemoryMmap;

use super::receive::{Manner, Pass, Receive};
use super::tap::Tap;
use super::transmit::Transmit;
use super::vhost::VhostNetError;
use crate::complaints;
use crate::events::{Interest, Sources};
use crate::virtio::ring::Ring;

/// Source of the queue of commands.
pub(super) const CONTROL: u16 = u16::MAX;

/// What a pair waits for; three sources each, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The guest has made buffers available to receive into.
    Buffers,
    /// The guest has packets to send.
    Packets,
    /// The tap has packets to receive, or is gone.
    Tap,
}

const EVENTS: u16 = 3;

/// Pair and event of a source.
pub(super) fn event(source: u16) -> (u16, Event) {
    let event = match source % EVENTS {
        0 => Event::Buffers,
        1 => Event::Packets,
        _ => Event::Tap,
    };
    (source / EVENTS, event)
}

fn source(pair: u16, event: Event) -> u16 {
    EVENTS * pair + event as u16
}

/// Whether the interface still has an other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Down,
}

/// A pair that cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The driver's fault.
    #[error(transparent)]
    Queue(#[from] virtio_queue::Error),
    /// The driver's, too: the host's kernel told so.
    #[error("a queue makes no sense")]
    Broken,
    /// The host's.
    #[error(transparent)]
    Events(#[from] io::Error),
    /// The host's kernel's.
    #[error(transparent)]
    VhostNet(#[from] VhostNetError),
}

pub(super) struct Pair {
    receive: Receive,
    transmit: Transmit,
}

impl Pair {
    pub(super) fn new(
        receive: Ring,
        transmit: Ring,
        memory: &GuestMemoryMmap,
        manner: Manner,
    ) -> Self {
        Self {
            receive: Receive::new(receive, memory, manner),
            transmit: Transmit::new(transmit, memory),
        }
    }

    pub(super) fn watch(&self, sources: &mut Sources, pair: u16, tap: &Tap) -> io::Result<()> {
        self.receive.watch(sources, source(pair, Event::Buffers))?;
        self.transmit.watch(sources, source(pair, Event::Packets))?;
        sources.watch(tap.fd(), source(pair, Event::Tap), Interest::Readable)
    }

    pub(super) fn serve(
        &mut self,
        (number, event): (u16, Event),
        tap: &Tap,
        sources: &mut Sources,
    ) -> Result<Link, Error> {
        if event == Event::Packets {
            self.transmit.serve(tap.fd())?;
            return Ok(Link::Up);
        }
        let tap_source = source(number, Event::Tap);
        if event == Event::Buffers {
            self.receive.acknowledge();
        }
        match self.receive.serve(tap.fd())? {
            Pass::Drained | Pass::Enough => sources.resume(tap_source)?,
            Pass::Starved => sources.pause(tap_source)?,
            // One that virtio's header has no words for, say. The others wait for
            // the next turn, so that a flood of such packets comes in turns too.
            Pass::Failed(errno) if tap.is_there() => {
                complaints::write(format_args!("read a packet from a tap: {errno}: lost"));
                sources.resume(tap_source)?;
            }
            Pass::Failed(_) => {
                sources.pause(tap_source)?;
                return Ok(Link::Down);
            }
        }
        Ok(Link::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_tells_pair_and_event() {
        for pair in [0, 1, 15] {
            for event in [Event::Buffers, Event::Packets, Event::Tap] {
                assert_eq!(super::event(source(pair, event)), (pair, event));
            }
        }
    }
}
