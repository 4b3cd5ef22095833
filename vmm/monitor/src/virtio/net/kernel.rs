//! Pairs whose packets the host's kernel moves (`vhost-net`). This process sets
//! them up and then is out of the way: kicks and interrupts go between the guest
//! and the kernel.
//!
//! | when | on | what |
//! |---|---|---|
//! | the driver is ready | its processor's thread | the queues are kept, and the main thread is told |
//! | then | the main thread | the kernel is told of memory and rings, and given the tap |
//! | the driver uses more or fewer pairs | the main thread | those that it uses have their tap |
//! | the machine is paused, and goes on | the main thread | taps are taken away, and given again |
//! | a ring makes no sense | the main thread | taps are taken away, and the driver has to reset |
//! | the driver resets | its processor's thread | taps are taken away: nothing else passes that thread's filter |

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::pair::{Error, Link};
use super::tap::Tap;
use super::vhost::{Queues, Terms, VhostNet, VhostNetError, is_usable};
use crate::complaints;
use crate::events::{Interest, Sources};
use crate::virtio::device::Interrupt;

/// What the main thread is told by.
const BEGIN: u16 = 0;
const BROKEN: u16 = 1;

/// What one device has of the kernel for as long as it is there.
pub(super) struct Kernel {
    /// One per pair.
    ends: Vec<VhostNet>,
    /// Written to when the driver is ready.
    begin: EventFd,
    /// Written to by the kernel when a ring makes no sense.
    broken: EventFd,
}

/// What it works with while the driver is ready.
pub(super) struct Moving {
    /// Those that the driver set up, by number.
    pairs: Vec<Option<Queues>>,
    features: u64,
    memory: GuestMemoryMmap,
    interrupt: Interrupt,
    /// The kernel knows the queues.
    begun: bool,
    /// Pairs that the driver uses, the first ones.
    used: usize,
}

impl Moving {
    /// These pairs, of which the driver uses the first.
    pub(super) fn new(
        pairs: Vec<Option<Queues>>,
        features: u64,
        memory: GuestMemoryMmap,
        interrupt: Interrupt,
    ) -> Self {
        Self {
            pairs,
            features,
            memory,
            interrupt,
            begun: false,
            used: 1,
        }
    }
}

/// It cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel's part.
    #[error(transparent)]
    VhostNet(#[from] VhostNetError),
    /// Nothing can be told.
    #[error("make an event of what the host's kernel tells")]
    Event(#[source] io::Error),
}

impl Kernel {
    pub(super) fn new(fds: Vec<OwnedFd>) -> Result<Self, KernelError> {
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(KernelError::Event);
        let ends: Result<_, _> = fds.into_iter().map(VhostNet::new).collect();
        Ok(Self {
            ends: ends?,
            begin: event()?,
            broken: event()?,
        })
    }

    /// Of what a device could offer, what all of them can.
    pub(super) fn narrow(&self, offered: u64) -> u64 {
        let ends = self.ends.iter();
        ends.fold(offered, |offered, end| end.narrow(offered))
    }

    /// The driver is ready: the main thread goes on from here.
    pub(super) fn watch(&self, sources: &mut Sources) -> io::Result<()> {
        // What was told before the last reset.
        let _ = self.broken.read();
        sources.watch(borrowed(&self.broken), BROKEN, Interest::Readable)?;
        sources.watch(borrowed(&self.begin), BEGIN, Interest::Readable)?;
        self.begin.write(1)
    }

    pub(super) fn serve(
        &self,
        source: u16,
        moving: &mut Moving,
        taps: &[Tap],
    ) -> Result<Link, Error> {
        match source {
            BEGIN => {
                // Empty if it was taken already.
                let _ = self.begin.read();
                self.begin(moving, taps)
            }
            BROKEN => {
                let _ = self.broken.read();
                let what = "queue of packets makes no sense to the host's kernel";
                complaints::write(format_args!("{what}"));
                Err(Error::Broken)
            }
            _ => Ok(Link::Up),
        }
    }

    fn begin(&self, moving: &mut Moving, taps: &[Tap]) -> Result<Link, Error> {
        if moving.begun {
            return Ok(Link::Up);
        }
        let terms = Terms {
            features: moving.features,
            memory: &moving.memory,
            interrupt: &moving.interrupt,
            broken: &self.broken,
        };
        for (end, queues) in self.ends.iter().zip(&moving.pairs) {
            let Some(queues) = queues else { continue };
            if !queues.iter().all(|queue| is_usable(queue, &moving.memory)) {
                complaints::write(format_args!("queue of packets is in pieces"));
                return Err(Error::Broken);
            }
            end.set_up(queues, &terms)?;
        }
        moving.begun = true;
        Ok(self.connect(moving, taps)?)
    }

    /// The driver uses the first `count` pairs from now on, `switch`ed on among the
    /// taps' queues meanwhile. A queue that is off takes no vhost-net.
    pub(super) fn use_pairs(
        &self,
        moving: &mut Moving,
        taps: &[Tap],
        count: u16,
        switch: impl FnOnce() -> bool,
    ) -> Result<bool, VhostNetError> {
        let count = usize::from(count);
        for end in self.ends.iter().skip(count) {
            end.disconnect()?;
        }
        let switched = switch();
        if switched {
            moving.used = count;
        }
        if moving.begun {
            self.connect(moving, taps)?;
        }
        Ok(switched)
    }

    /// Gives each pair that is in use its tap. The link is down if that is gone: the
    /// kernel, once it has it, does not tell.
    fn connect(&self, moving: &Moving, taps: &[Tap]) -> Result<Link, VhostNetError> {
        let all = self.ends.iter().zip(taps).zip(&moving.pairs);
        for ((end, tap), queues) in all.take(moving.used) {
            let Some(queues) = queues else { continue };
            match end.connect(tap.fd(), queues) {
                Err(_) if !tap.is_there() => {
                    self.disconnect()?;
                    return Ok(Link::Down);
                }
                connected => connected?,
            }
        }
        Ok(Link::Up)
    }

    /// The kernel touches no queue when this returns. All of them, whether or not
    /// one fails.
    pub(super) fn disconnect(&self) -> Result<(), VhostNetError> {
        let all = self.ends.iter().map(VhostNet::disconnect);
        all.fold(Ok(()), Result::and)
    }

    /// Goes on after [`Self::disconnect`].
    pub(super) fn go_on(&self, moving: &Moving, taps: &[Tap]) -> Result<(), VhostNetError> {
        match moving.begun {
            true => self.connect(moving, taps).map(drop),
            false => Ok(()),
        }
    }
}

#[allow(unsafe_code)] // The type lends its descriptor by number only.
fn borrowed(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open for the borrow's life.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
