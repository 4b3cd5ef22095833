//! The network device (virtio 1.2, section 5.1), on taps.
//!
//! | module | |
//! |---|---|
//! | [`identity`] | address and MTU |
//! | [`features`] | what device and driver leave to each other |
//! | [`tap`] | the host's end |
//! | [`packet`] | sizes of what goes through |
//! | [`vectors`] | guest memory, as the kernel reads and writes it |
//! | [`receive`], [`transmit`] | the two queues of a pair |
//! | [`control`] | the driver's commands, with more than one pair |
//! | [`pair`] | the two with their tap, and when it is watched |
//!
//! Packets go between guest memory and tap in one system call each, and no byte
//! of them passes through this process's own memory.

mod control;
mod features;
mod identity;
mod packet;
mod pair;
mod receive;
mod tap;
mod transmit;
mod vectors;

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;

use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MQ;
use vmm_api::NetConfig;

use self::control::Control;
use self::features::Features;
use self::identity::Identity;
pub use self::identity::IdentityError;
use self::pair::{Link, Pair};
use self::tap::Tap;
pub use self::tap::TapError;
use super::device::{Device, DeviceError, ReadyQueue, Served, Start};
use super::ring::Ring;
use crate::events::Sources;

const NAME: &str = "net";

/// Entries of the queues of packets. Linux's buffers are a page or less: they
/// are six of the longest packets.
const QUEUE_SIZE: u16 = 256;
const CONTROL_SIZE: u16 = 16;
/// Most pairs of queues. Virtio has room for 2^15; what counts is that a guest
/// has a few processors.
const MOST_PAIRS: usize = 16;

/// An interface that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// What it is to be.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What it is to be made of.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Too few or too many.
    #[error("a network interface on {taps} taps: it has 1 to {MOST_PAIRS}")]
    Taps {
        /// How many.
        taps: usize,
    },
}

/// The device.
pub struct Net {
    identity: Identity,
    queue_sizes: Vec<u16>,
    /// One per pair of queues.
    taps: Vec<Tap>,
    up: bool,
    running: Option<Running>,
}

struct Running {
    /// Those that the driver set up, by number.
    pairs: Vec<Option<Pair>>,
    control: Option<Control>,
    sources: Sources,
}

impl Net {
    /// As `config` says, on descriptors of one tap: each serves one pair of
    /// queues. The tap's packets have to have virtio-net headers.
    ///
    /// # Errors
    /// See [`NetError`].
    pub fn new(config: &NetConfig, taps: Vec<OwnedFd>) -> Result<Self, NetError> {
        let count = taps.len();
        let pairs = u16::try_from(count).ok();
        let pairs = pairs.filter(|_| (1..=MOST_PAIRS).contains(&count));
        let pairs = pairs.ok_or(NetError::Taps { taps: count })?;
        let identity = Identity::new(config, pairs)?;
        let taps: Result<_, _> = taps.into_iter().map(Tap::new).collect();
        let mut queue_sizes = vec![QUEUE_SIZE; 2 * count];
        if count > 1 {
            queue_sizes.push(CONTROL_SIZE);
        }
        Ok(Self {
            identity,
            queue_sizes,
            taps: taps?,
            up: true,
            running: None,
        })
    }

    /// Has packets come by the taps of the first `count` pairs alone.
    fn use_pairs(taps: &[Tap], count: u16) -> bool {
        let count = usize::from(count);
        if !(1..=taps.len()).contains(&count) {
            return false;
        }
        // A tap of one queue knows nothing of several.
        let several = taps.len() > 1;
        let mut taps = taps.iter().enumerate().filter(|_| several);
        taps.all(|(index, tap)| tap.use_queue(index < count).is_ok())
    }

    /// Where the commands come: behind the last pair that the driver knows of
    /// (section 5.1.2).
    fn control_queue(&self, features: Features) -> usize {
        match features.has(VIRTIO_NET_F_MQ) {
            true => 2 * self.taps.len(),
            false => 2,
        }
    }

    fn prepare(&self, features: Features) {
        for tap in &self.taps {
            // If not, the host does it, which is as good. A tap that is gone
            // shows when it is read from.
            let _ = tap.leave(features.offloads());
        }
        Self::use_pairs(&self.taps, 1);
    }

    /// The link is down from now on, if that is what `link` says.
    fn note(&mut self, link: Link) -> Served {
        match link {
            Link::Down if self.up => {
                self.up = false;
                Served::ConfigChanged
            }
            Link::Down | Link::Up => Served::Quiet,
        }
    }
}

impl Device for Net {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn is_pluggable(&self) -> bool {
        true
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        let first = self.taps.first();
        let udp_segments = first.is_some_and(|tap| tap.knows_udp_segments().unwrap_or(false));
        Ok(Features::offered(udp_segments, self.taps.len()).0)
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.identity.config(self.up).to_vec())
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let features = Features(start.features);
        self.prepare(features);
        let mut queues: Vec<_> = start.queues.into_iter().map(Some).collect();
        let mut take = |index: usize| queues.get_mut(index).and_then(Option::take).flatten();
        let ring = |ready: ReadyQueue| Ring::new(ready, start.interrupt.clone());
        let control_queue = self.control_queue(features);
        let control = take(control_queue)
            .filter(|_| self.taps.len() > 1)
            .map(ring);
        let manner = receive::Manner {
            merges: features.merges_buffers(),
            longest: packet::most_received(features, self.identity.mtu()),
        };
        let pairs = (0..self.taps.len()).map(|index| {
            let receive = take(2 * index).map(ring)?;
            let transmit = take(2 * index + 1).map(ring)?;
            Some(Pair::new(receive, transmit, &start.memory, manner))
        });
        let mut running = Running {
            pairs: pairs.collect(),
            control: control.map(|ring| Control::new(ring, &start.memory)),
            sources: start.sources,
        };
        running.watch(&self.taps).map_err(events)?;
        self.running = Some(running);
        Ok(())
    }

    fn serve(&mut self, source: u16) -> Result<Served, DeviceError> {
        let Some(running) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        match running.serve(source, &self.taps) {
            Ok(link) => Ok(self.note(link)),
            Err(pair::Error::Events(error)) => Err(events(error)),
            Err(pair::Error::Queue(_)) => Ok(Served::broken(&mut self.running)),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        Ok(())
    }
}

impl Running {
    fn watch(&mut self, taps: &[Tap]) -> io::Result<()> {
        for (number, (pair, tap)) in (0..).zip(self.pairs.iter().zip(taps)) {
            if let Some(pair) = pair {
                pair.watch(&mut self.sources, number, tap)?;
            }
        }
        match &self.control {
            Some(control) => control.watch(&mut self.sources, pair::CONTROL),
            None => Ok(()),
        }
    }

    fn serve(&mut self, source: u16, taps: &[Tap]) -> Result<Link, pair::Error> {
        if source == pair::CONTROL {
            if let Some(control) = &mut self.control {
                control.serve(|count| Net::use_pairs(taps, count))?;
            }
            return Ok(Link::Up);
        }
        let event = pair::event(source);
        let index = usize::from(event.0);
        let pair = self.pairs.get_mut(index).and_then(Option::as_mut);
        match (pair, taps.get(index)) {
            (Some(pair), Some(tap)) => pair.serve(event, tap, &mut self.sources),
            _ => Ok(Link::Up),
        }
    }
}

fn events(source: io::Error) -> DeviceError {
    DeviceError::Events {
        device: NAME,
        source,
    }
}

#[cfg(test)]
mod tests;
