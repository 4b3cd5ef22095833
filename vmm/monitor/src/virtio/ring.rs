//! The rings of a queue, for a device of this process: what is available is
//! taken, what was used is given back and told of.
//!
//! Taking is the library's. Giving back is not, because it shows the driver
//! one chain at a time: a packet that lies in several has to appear whole
//! (virtio 1.2, section 5.1.6.4.2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Error, Queue, QueueOwnedT, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::device::{Interrupt, ReadyQueue};
use crate::events::{Interest, Sources};

/// Chains that are served in a row. A driver that makes chains available as
/// fast as they are used would keep the thread.
pub const BUDGET: u16 = 64;

/// Flags and index come before the elements of a ring (virtio 1.2, sections
/// 2.7.6 and 2.7.8).
const HEADER: u64 = 4;
const INDEX: u64 = 2;
const AVAIL_ELEMENT: u64 = 2;
const USED_ELEMENT: u64 = 8;

/// A queue in use.
pub struct Ring {
    queue: Queue,
    kick: Arc<EventFd>,
    interrupt: Interrupt,
    /// Index of the used ring, with what the driver does not see yet.
    filled: u16,
    /// The same when the driver was last told.
    told: u16,
}

impl Ring {
    /// Of a queue that the driver set up.
    #[must_use]
    pub fn new(ready: ReadyQueue, interrupt: Interrupt) -> Self {
        let used = ready.queue.next_used();
        Self {
            queue: ready.queue,
            kick: ready.kick,
            interrupt,
            filled: used,
            told: used,
        }
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Has the driver's kicks told under `source`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&self, sources: &mut Sources, source: u16) -> io::Result<()> {
        sources.watch(borrowed(&self.kick), source, Interest::Readable)
    }

    /// Takes note of a kick: the next one is another.
    pub fn acknowledge(&self) {
        // Empty if it was taken already.
        let _ = self.kick.read();
    }

    /// Has a kick come that the driver did not make: there is more to serve.
    pub fn call_again(&self) {
        // Full only if nobody has read it 2^64 times.
        let _ = self.kick.write(1);
    }

    /// The oldest chain that is available.
    ///
    /// # Errors
    /// When the driver made more chains available than the ring has entries.
    pub fn take<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Result<Option<DescriptorChain<&'m GuestMemoryMmap>>, Error> {
        Ok(self.queue.iter(memory)?.next())
    }

    /// Wants a kick for the next chain. Whether there is one already, for which
    /// none will come.
    ///
    /// # Errors
    /// When the rings are not accessible.
    pub fn rearm(&mut self, memory: &GuestMemoryMmap) -> Result<bool, Error> {
        self.queue.enable_notification(memory)
    }

    /// Gives a chain back, with `written` bytes in it. The driver sees it after
    /// [`Self::show`].
    ///
    /// # Errors
    /// When the ring had a `head` that is no descriptor's number.
    pub fn give_back(
        &mut self,
        memory: &GuestMemoryMmap,
        head: u16,
        written: u32,
    ) -> Result<(), Error> {
        if head >= self.queue.size() {
            return Err(Error::InvalidDescriptorIndex);
        }
        let entry = u64::from(self.filled % self.queue.size());
        let address = self.used(HEADER + entry * USED_ELEMENT)?;
        let element = u64::from(written) << 32 | u64::from(head);
        let written = memory.write_obj(element.to_le(), address);
        self.filled = self.filled.wrapping_add(1);
        written.map_err(Error::GuestMemory)
    }

    /// Shows the driver what was given back.
    ///
    /// # Errors
    /// When the rings are not accessible.
    pub fn show(&mut self, memory: &GuestMemoryMmap) -> Result<(), Error> {
        let index = self.used(INDEX)?;
        memory
            .store(self.filled.to_le(), index, Ordering::Release)
            .map_err(Error::GuestMemory)?;
        self.queue.set_next_used(self.filled);
        Ok(())
    }

    /// Interrupts the driver if there is something new that it wants to be
    /// told of.
    ///
    /// # Errors
    /// When the rings are not accessible.
    pub fn tell(&mut self, memory: &GuestMemoryMmap) -> Result<(), Error> {
        let (old, new) = (self.told, self.queue.next_used());
        if old == new {
            return Ok(());
        }
        self.told = new;
        // What was shown comes before what is asked (virtio 1.2, section
        // 2.7.7.2).
        fence(Ordering::SeqCst);
        if self.wants_interrupt(memory, old, new)? {
            self.interrupt.notify();
        }
        Ok(())
    }

    fn wants_interrupt(&self, memory: &GuestMemoryMmap, old: u16, new: u16) -> Result<bool, Error> {
        let size = u64::from(self.queue.size());
        if self.queue.event_idx_enabled() {
            let event = self.number(memory, HEADER + size * AVAIL_ELEMENT)?;
            // Whether the event lies among what is new, in numbers that wrap.
            return Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old));
        }
        let flags = self.number(memory, 0)?;
        Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    /// Calls `serve` for what is available, which answers how many bytes it
    /// wrote. Ends with nothing left, or with a kick of its own.
    ///
    /// # Errors
    /// When the driver left the rings in a state that makes no sense.
    pub fn serve_all<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
        mut serve: impl FnMut(DescriptorChain<&'m GuestMemoryMmap>) -> u32,
    ) -> Result<(), Error> {
        self.serve_at_cost(memory, |chain| (serve(chain), 1))
    }

    /// The same, where some chains are as much work as many others: `serve` also
    /// answers as how many one counts.
    ///
    /// # Errors
    /// As of [`Self::serve_all`].
    pub fn serve_at_cost<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
        mut serve: impl FnMut(DescriptorChain<&'m GuestMemoryMmap>) -> (u32, usize),
    ) -> Result<(), Error> {
        self.acknowledge();
        let mut budget = usize::from(BUDGET);
        while budget > 0 {
            let Some(chain) = self.take(memory)? else {
                if self.rearm(memory)? {
                    budget -= 1;
                    continue;
                }
                return self.tell(memory);
            };
            let head = chain.head_index();
            let (written, cost) = serve(chain);
            budget = budget.saturating_sub(cost.max(1));
            self.give_back(memory, head, written)?;
            self.show(memory)?;
        }
        self.call_again();
        self.tell(memory)
    }

    fn used(&self, offset: u64) -> Result<GuestAddress, Error> {
        offset_from(self.queue.used_ring(), offset)
    }

    /// From the available ring.
    fn number(&self, memory: &GuestMemoryMmap, offset: u64) -> Result<u16, Error> {
        let address = offset_from(self.queue.avail_ring(), offset)?;
        let number = memory.load(address, Ordering::Acquire).map(u16::from_le);
        number.map_err(Error::GuestMemory)
    }
}

fn offset_from(ring: u64, offset: u64) -> Result<GuestAddress, Error> {
    let address = GuestAddress(ring).checked_add(offset);
    address.ok_or(Error::AddressOverflow)
}

#[allow(unsafe_code)] // The type lends its descriptor by number only.
fn borrowed(event: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open for the borrow's life.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

#[cfg(test)]
mod tests;
