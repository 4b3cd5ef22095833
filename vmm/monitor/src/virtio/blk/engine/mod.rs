//! Who does the work of all disks: io_uring, or where it is forbidden the
//! thread that asks (docs/decisions/0017-disks-through-one-confined-ring.md).
//!
//! There is one for the machine, made before the process gives up the right to
//! make one. Work is started under a slot's number, and what is finished is
//! collected under the same; whoever looks collects for all.

mod at_once;
mod uring;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use self::uring::Uring;
use super::backing::Backing;
use super::request::Answer;
use super::work::{Method, Work};
use crate::virtio::Slot;

/// The kernel does not do its part.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No descriptor to be told by.
    #[error("make an event of finished disk work")]
    Event(#[source] io::Error),
    /// It takes no work.
    #[error("give work to io_uring")]
    Submit(#[source] io::Error),
}

/// Work on its way.
pub(super) struct Order {
    pub(super) slot: Slot,
    pub(super) backing: Arc<Backing>,
    pub(super) answer: Answer,
    pub(super) work: Work,
}

/// Work whose step is over, and how: bytes for a transfer.
pub(super) struct Finished {
    pub(super) order: Order,
    pub(super) result: Result<usize, Errno>,
}

/// The engine. Clones are the same one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    /// Readable when work was finished. Outlives the ring, which has it.
    event: EventFd,
    state: Mutex<State>,
}

struct State {
    /// Without one, work is done at once.
    uring: Option<Uring>,
    /// Not collected yet, by slot.
    finished: Vec<VecDeque<Finished>>,
}

impl Engine {
    /// With io_uring if this process may have one that it can be confined to.
    ///
    /// # Errors
    /// When there is no descriptor for its event.
    pub fn new() -> Result<Self, EngineError> {
        let event = event()?;
        let uring = Uring::new(&event).ok();
        Ok(Self::with(event, uring))
    }

    /// Without io_uring.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn at_once() -> Result<Self, EngineError> {
        Ok(Self::with(event()?, None))
    }

    fn with(event: EventFd, uring: Option<Uring>) -> Self {
        let finished = Slot::all().map(|_| VecDeque::new()).collect();
        let state = Mutex::new(State { uring, finished });
        Self(Arc::new(Shared { event, state }))
    }

    /// Whether work goes on while the thread that asked does something else.
    #[must_use]
    pub fn is_asynchronous(&self) -> bool {
        self.lock().uring.is_some()
    }

    /// Takes an order; [`Self::flush`] makes sure that it is begun.
    pub(super) fn start(&self, order: Order) -> Result<(), EngineError> {
        let state = &mut *self.lock();
        match &mut state.uring {
            Some(uring) if !is_call(&order.work) => uring.push(order),
            _ => {
                let result = at_once::perform(&order);
                state.finish(Finished { order, result });
                Ok(())
            }
        }
    }

    /// Begins what was taken, and notes what is over by then: often all of it.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        let state = &mut *self.lock();
        if let Some(uring) = &mut state.uring
            && !uring.flush()?
        {
            // The kernel lacks memory for now: the main thread tries again.
            self.wake();
        }
        state.collect();
        Ok(())
    }

    /// The next of what is over.
    pub(super) fn finished(&self, slot: Slot) -> Option<Finished> {
        self.lock().finished.get_mut(slot.number())?.pop_front()
    }

    /// To be called when [`Self::as_fd`] is readable: which slots have
    /// something to collect.
    ///
    /// # Errors
    /// When the kernel takes no work.
    pub fn ready(&self) -> Result<Vec<Slot>, EngineError> {
        // Empty if somebody was quicker.
        let _ = self.0.event.read();
        self.flush()?;
        let state = self.lock();
        let has = |slot: &Slot| {
            let finished = state.finished.get(slot.number());
            finished.is_some_and(|finished| !finished.is_empty())
        };
        Ok(Slot::all().filter(has).collect())
    }

    /// Returns when nothing of `slot`'s is under way any more, with nothing
    /// left to collect. Waits for the host's disk, not for the guest.
    pub(super) fn drain(&self, slot: Slot) -> Result<(), EngineError> {
        let state = &mut *self.lock();
        while let Some(uring) = &mut state.uring
            && uring.is_busy(slot)
        {
            uring.wait()?;
            state.collect();
        }
        if let Some(finished) = state.finished.get_mut(slot.number()) {
            finished.clear();
        }
        // What was collected for others they learn of from the main thread.
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // Full only if nobody has read it 2^64 times.
        let _ = self.0.event.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn collect(&mut self) {
        let Some(uring) = &mut self.uring else {
            return;
        };
        let over: Vec<_> = uring.finished().collect();
        over.into_iter().for_each(|finished| self.finish(finished));
    }

    fn finish(&mut self, finished: Finished) {
        let slot = finished.order.slot.number();
        if let Some(queue) = self.finished.get_mut(slot) {
            queue.push_back(finished);
        }
    }
}

/// The one step that io_uring has no order for.
fn is_call(work: &Work) -> bool {
    let Work::Clear { methods, .. } = work else {
        return false;
    };
    methods.first() == Some(&Method::Discard)
}

fn event() -> Result<EventFd, EngineError> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map_err(EngineError::Event)
}

impl AsFd for Engine {
    #[allow(unsafe_code)] // The type lends its descriptor by number only.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open for as long as the engine is there.
        unsafe { BorrowedFd::borrow_raw(self.0.event.as_raw_fd()) }
    }
}
