//! The network device (virtio 1.2, section 5.1), on taps. Who moves its packets is
//! the shim's choice: this process, or the host's kernel.
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
//! | [`kernel`] | pairs that the host's kernel serves |
//! | [`vhost`] | the kernel's end of one |
//!
//! Here, packets go between guest memory and tap in one system call each, and no
//! byte of them passes through this process's own memory.

mod control;
mod features;
mod identity;
mod kernel;
mod packet;
mod pair;
mod receive;
mod tap;
mod transmit;
mod vectors;
mod vhost;

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;

use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MQ;
use vm_memory::GuestMemoryMmap;
use vmm_api::NetConfig;

use self::control::Control;
use self::features::Features;
use self::identity::Identity;
pub use self::identity::IdentityError;
pub use self::kernel::KernelError;
use self::kernel::{Kernel, Moving};
use self::pair::{Link, Pair};
use self::tap::Tap;
pub use self::tap::TapError;
pub use self::vhost::VhostNetError;
use super::device::{Device, DeviceError, Interrupt, ReadyQueue, Served, Start};
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
    /// Who is to move its packets.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Too few or too many.
    #[error("a network interface with {pairs} pairs of queues: it has 1 to {MOST_PAIRS}")]
    Pairs {
        /// How many.
        pairs: u16,
    },
    /// Not as many as it has pairs of queues, or is to have.
    #[error("{sent} descriptors of the {what} of a network interface instead of {wanted}")]
    Count {
        /// Tap, or vhost-net.
        what: &'static str,
        /// How many there are.
        sent: usize,
        /// How many there should be.
        wanted: usize,
    },
}

/// The device.
pub struct Net {
    identity: Identity,
    queue_sizes: Vec<u16>,
    /// One per pair of queues.
    taps: Vec<Tap>,
    /// If it moves the packets.
    kernel: Option<Kernel>,
    up: bool,
    running: Option<Running>,
}

struct Running {
    packets: Packets,
    control: Option<Control>,
    sources: Sources,
}

/// Who moves them.
enum Packets {
    /// This process, between the pairs that the driver set up, by number, and
    /// their taps.
    Here(Vec<Option<Pair>>),
    /// The host's kernel.
    Kernel(Moving),
}

impl Net {
    /// As `config` says, on descriptors of one tap: each serves one pair of
    /// queues. The tap's packets have to have virtio-net headers. With as many of
    /// `/dev/vhost-net` the host's kernel moves the packets.
    ///
    /// # Errors
    /// See [`NetError`].
    pub fn new(
        config: &NetConfig,
        taps: Vec<OwnedFd>,
        vhosts: Vec<OwnedFd>,
    ) -> Result<Self, NetError> {
        let (count, of_kernel) = descriptors(config)?;
        counted("tap", &taps, count)?;
        counted("vhost-net", &vhosts, of_kernel)?;
        let identity = Identity::new(config, config.queue_pairs)?;
        let taps: Result<_, _> = taps.into_iter().map(Tap::new).collect();
        let mut queue_sizes = vec![QUEUE_SIZE; 2 * count];
        if count > 1 {
            queue_sizes.push(CONTROL_SIZE);
        }
        Ok(Self {
            identity,
            queue_sizes,
            taps: taps?,
            kernel: config.vhost.then(|| Kernel::new(vhosts)).transpose()?,
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

    /// The pairs, for this process to serve.
    fn pairs(
        &self,
        ready: Vec<Option<[ReadyQueue; 2]>>,
        features: Features,
        memory: &GuestMemoryMmap,
        interrupt: &Interrupt,
    ) -> Vec<Option<Pair>> {
        let manner = receive::Manner {
            merges: features.merges_buffers(),
            longest: packet::most_received(features, self.identity.mtu()),
        };
        let pair = |queues: [ReadyQueue; 2]| {
            let [receive, transmit] = queues.map(|ready| Ring::new(ready, interrupt.clone()));
            Pair::new(receive, transmit, memory, manner)
        };
        ready.into_iter().map(|queues| queues.map(pair)).collect()
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

    /// The kernel leaves the queues alone when this returns.
    fn disconnect(&self) -> Result<(), DeviceError> {
        let disconnected = self.kernel.as_ref().map_or(Ok(()), Kernel::disconnect);
        Ok(disconnected?)
    }
}

/// How many taps the interface has, and how many descriptors of vhost-net.
///
/// # Errors
/// When no interface has so many.
pub fn descriptors(config: &NetConfig) -> Result<(usize, usize), NetError> {
    let pairs = config.queue_pairs;
    let count = usize::from(pairs);
    match (1..=MOST_PAIRS).contains(&count) {
        true => Ok((count, if config.vhost { count } else { 0 })),
        false => Err(NetError::Pairs { pairs }),
    }
}

fn counted(what: &'static str, fds: &[OwnedFd], wanted: usize) -> Result<(), NetError> {
    let sent = fds.len();
    match sent == wanted {
        true => Ok(()),
        false => Err(NetError::Count { what, sent, wanted }),
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
        let offered = Features::offered(udp_segments, self.taps.len()).0;
        let kernel = self.kernel.as_ref();
        Ok(kernel.map_or(offered, |kernel| kernel.narrow(offered)))
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.identity.config(self.up).to_vec())
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let features = Features(start.features);
        self.prepare(features);
        let mut queues: Vec<_> = start.queues.into_iter().map(Some).collect();
        let mut take = |index: usize| queues.get_mut(index).and_then(Option::take).flatten();
        let control_queue = self.control_queue(features);
        let control = take(control_queue)
            .filter(|_| self.taps.len() > 1)
            .map(|ready| Ring::new(ready, start.interrupt.clone()));
        let pairs = (0..self.taps.len()).map(|index| {
            let (receive, transmit) = (take(2 * index)?, take(2 * index + 1)?);
            Some([receive, transmit])
        });
        let pairs: Vec<_> = pairs.collect();
        let packets = match &self.kernel {
            None => Packets::Here(self.pairs(pairs, features, &start.memory, &start.interrupt)),
            Some(_) => Packets::Kernel(Moving::new(
                pairs,
                start.features,
                start.memory.clone(),
                start.interrupt.clone(),
            )),
        };
        let mut running = Running {
            packets,
            control: control.map(|ring| Control::new(ring, &start.memory)),
            sources: start.sources,
        };
        running
            .watch(&self.taps, self.kernel.as_ref())
            .map_err(events)?;
        self.running = Some(running);
        Ok(())
    }

    fn serve(&mut self, source: u16) -> Result<Served, DeviceError> {
        let Some(running) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        match running.serve(source, &self.taps, self.kernel.as_ref()) {
            Ok(link) => Ok(self.note(link)),
            Err(pair::Error::Events(error)) => Err(events(error)),
            Err(pair::Error::VhostNet(error)) => Err(error.into()),
            Err(pair::Error::Queue(_) | pair::Error::Broken) => {
                self.disconnect()?;
                Ok(Served::broken(&mut self.running))
            }
        }
    }

    fn hold(&mut self) -> Result<(), DeviceError> {
        self.disconnect()
    }

    fn go_on(&mut self) -> Result<(), DeviceError> {
        let (Some(kernel), Some(running)) = (&self.kernel, &self.running) else {
            return Ok(());
        };
        match &running.packets {
            Packets::Here(_) => Ok(()),
            Packets::Kernel(moving) => Ok(kernel.go_on(moving, &self.taps)?),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        self.disconnect()
    }
}

impl Running {
    fn watch(&mut self, taps: &[Tap], kernel: Option<&Kernel>) -> io::Result<()> {
        match (&self.packets, kernel) {
            (Packets::Here(pairs), _) => {
                for (number, (pair, tap)) in (0..).zip(pairs.iter().zip(taps)) {
                    if let Some(pair) = pair {
                        pair.watch(&mut self.sources, number, tap)?;
                    }
                }
            }
            (Packets::Kernel(_), Some(kernel)) => kernel.watch(&mut self.sources)?,
            (Packets::Kernel(_), None) => {}
        }
        match &self.control {
            Some(control) => control.watch(&mut self.sources, pair::CONTROL),
            None => Ok(()),
        }
    }

    fn serve(
        &mut self,
        source: u16,
        taps: &[Tap],
        kernel: Option<&Kernel>,
    ) -> Result<Link, pair::Error> {
        match (source, &mut self.packets, kernel) {
            (pair::CONTROL, ..) => self.serve_control(taps, kernel),
            (_, Packets::Kernel(moving), Some(kernel)) => kernel.serve(source, moving, taps),
            (_, Packets::Kernel(_), None) => Ok(Link::Up),
            (_, Packets::Here(pairs), _) => {
                let event = pair::event(source);
                let index = usize::from(event.0);
                let pair = pairs.get_mut(index).and_then(Option::as_mut);
                match (pair, taps.get(index)) {
                    (Some(pair), Some(tap)) => pair.serve(event, tap, &mut self.sources),
                    _ => Ok(Link::Up),
                }
            }
        }
    }

    fn serve_control(
        &mut self,
        taps: &[Tap],
        kernel: Option<&Kernel>,
    ) -> Result<Link, pair::Error> {
        let Some(control) = &mut self.control else {
            return Ok(Link::Up);
        };
        let mut failed = Ok(());
        control.serve(|count| {
            let switch = || Net::use_pairs(taps, count);
            match (&mut self.packets, kernel) {
                (Packets::Kernel(moving), Some(kernel)) => {
                    let used = kernel.use_pairs(moving, taps, count, switch);
                    used.unwrap_or_else(|error| {
                        failed = Err(error);
                        false
                    })
                }
                _ => switch(),
            }
        })?;
        failed?;
        Ok(Link::Up)
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
