//! Work given to io_uring, which can do nothing else: it is restricted to the
//! four operations of disks before it takes the first one.

#![allow(unsafe_code)] // The kernel is given memory by its address.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue, types};
use nix::errno::Errno;
use vmm_sys_util::eventfd::EventFd;

use super::{EngineError, Finished, Order, at_once};
use crate::virtio::Slot;
use crate::virtio::blk::DEPTH;
use crate::virtio::blk::work::Work;

/// Orders that the kernel is given at once.
const BATCH: u32 = 64;
/// Orders under way: no more are ever finished without having been collected.
const MOST: usize = Slot::COUNT * DEPTH;

/// Threads of the kernel's that serve what would wait, and those for what may
/// wait for ever, of which there is none here.
const WORKERS: [u32; 2] = [8, 8];

/// What it can do. Not even with a flag.
const OPERATIONS: [u8; 4] = [
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::Fallocate::CODE,
];

pub(super) struct Uring {
    ring: IoUring,
    /// What the kernel has been given, by the number that it was given with.
    /// Neither an order nor its memory moves or goes until it is finished.
    orders: Vec<Option<Order>>,
    /// Numbers that are not in use.
    free: Vec<usize>,
    /// Orders under way, by slot.
    busy: [usize; Slot::COUNT],
}

impl Uring {
    /// One that tells `event` of what it finishes.
    ///
    /// # Errors
    /// When the kernel has none, or this process may have none, or one that
    /// could do more than is needed.
    pub(super) fn new(event: &EventFd) -> io::Result<Self> {
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        let ring: IoUring = IoUring::builder()
            .dontfork()
            .setup_r_disabled()
            .setup_cqsize(most)
            .build(BATCH)?;
        let submitter = ring.submitter();
        submitter.register_eventfd(event.as_raw_fd())?;
        // Linux before 5.15 does not know it, and is as right without.
        let _ = submitter.register_iowq_max_workers(&mut { WORKERS });
        submitter.register_restrictions(&mut OPERATIONS.map(Restriction::sqe_op))?;
        submitter.register_enable_rings()?;
        Ok(Self {
            ring,
            orders: Vec::new(),
            free: Vec::new(),
            busy: [0; Slot::COUNT],
        })
    }

    /// Takes an order.
    pub(super) fn push(&mut self, order: Order) -> Result<(), EngineError> {
        while self.ring.submission().is_full() {
            // Some have to go first.
            if !self.submit(0)? {
                std::thread::yield_now();
            }
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.orders.push(None);
            self.orders.len() - 1
        });
        let entry = entry(&order).user_data(number as u64);
        if let Some(busy) = self.busy.get_mut(order.slot.number()) {
            *busy += 1;
        }
        if let Some(place) = self.orders.get_mut(number) {
            *place = Some(order);
        }
        // SAFETY: the descriptor and the memory that the entry names are the
        // order's, which stays in `orders` until the kernel has finished with
        // it: its vectors are on the heap, whether or not `orders` grows.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| EngineError::Submit(io::ErrorKind::OutOfMemory.into()))
    }

    /// Has the kernel begin what was taken; no event tells of what is over at
    /// once. False if the kernel has to be asked again.
    pub(super) fn flush(&mut self) -> Result<bool, EngineError> {
        if self.ring.submission().is_empty() {
            return Ok(true);
        }
        self.ring.completion().disable_eventfd();
        let submitted = self.submit(0);
        self.ring.completion().enable_eventfd();
        submitted
    }

    /// Waits until something is finished.
    pub(super) fn wait(&mut self) -> Result<(), EngineError> {
        self.submit(1).map(drop)
    }

    fn submit(&mut self, wanted: usize) -> Result<bool, EngineError> {
        match self.ring.submit_and_wait(wanted) {
            Ok(_) => Ok(self.ring.submission().is_empty()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(false),
                _ => Err(EngineError::Submit(error)),
            },
        }
    }

    pub(super) fn is_busy(&self, slot: Slot) -> bool {
        self.busy.get(slot.number()).is_some_and(|busy| *busy > 0)
    }

    /// What is over and was not collected.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Finished> {
        let Self {
            ring,
            orders,
            free,
            busy,
        } = self;
        ring.completion().filter_map(|entry| {
            let number = usize::try_from(entry.user_data()).ok()?;
            let order = orders.get_mut(number)?.take()?;
            free.push(number);
            if let Some(busy) = busy.get_mut(order.slot.number()) {
                *busy -= 1;
            }
            let result = usize::try_from(entry.result());
            let result = result.map_err(|_| Errno::from_raw(entry.result().saturating_neg()));
            Some(Finished { order, result })
        })
    }
}

/// The kernel is not to write to memory that is no longer there.
impl Drop for Uring {
    fn drop(&mut self) {
        while self.busy.iter().any(|busy| *busy > 0) {
            if self.wait().is_err() {
                std::mem::forget(std::mem::take(&mut self.orders));
                return;
            }
            self.finished().for_each(drop);
        }
    }
}

fn entry(order: &Order) -> squeue::Entry {
    let fd = types::Fd(order.backing.as_raw_fd());
    match &order.work {
        Work::Read { vectors, offset } => {
            let step = vectors.step();
            let read = opcode::Readv::new(fd, step.as_ptr(), count(step));
            read.offset(*offset).build()
        }
        Work::Write {
            vectors,
            offset,
            durable,
        } => {
            let step = vectors.step();
            let flags = if *durable { libc::RWF_DSYNC } else { 0 };
            let write = opcode::Writev::new(fd, step.as_ptr(), count(step));
            write.offset(*offset).rw_flags(flags).build()
        }
        Work::Clear { range, methods, .. } => {
            let mode = methods.first().copied().map_or(0, at_once::mode);
            let clear = opcode::Fallocate::new(fd, range.length);
            clear.offset(range.offset).mode(mode).build()
        }
        Work::Sync => {
            let sync = opcode::Fsync::new(fd);
            sync.flags(types::FsyncFlags::DATASYNC).build()
        }
    }
}

fn count(vectors: &[libc::iovec]) -> u32 {
    u32::try_from(vectors.len()).unwrap_or(u32::MAX)
}

impl AsRawFd for Uring {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
