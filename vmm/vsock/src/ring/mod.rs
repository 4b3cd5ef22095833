//! The virtqueues: taking packets out of guest memory and putting packets into
//! it (virtio 1.2, sections 2.7 and 5.10.6).

pub mod chain;
pub mod receive;
pub mod transmit;

#[cfg(test)]
pub(crate) mod driver;
#[cfg(test)]
mod tests;

use vhost_user_backend::VringState;
use virtio_queue::{DescriptorChain, Error, Queue, QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;

/// The queue with packets for the guest.
pub const RX: usize = 0;
/// The queue with packets of the guest.
pub const TX: usize = 1;
/// The queue with events for the guest, of which there are none.
pub const EVENT: usize = 2;
/// How many queues there are.
pub const COUNT: usize = 3;

/// The greatest size of a queue, in descriptors.
pub const MAX_SIZE: usize = 256;

/// Buffers a queue may be served in a row before others have their turn.
const BUDGET: usize = 256;

/// What is left to do on a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Nothing until something happens that causes an event.
    Idle,
    /// There was more to do than one turn allows.
    Unfinished,
}

/// Whether the front end has handed the queue over to us.
fn is_live(vring: &VringState) -> bool {
    vring.is_enabled() && vring.get_queue().ready()
}

/// The next buffer that the guest has made available.
fn pop<'m>(
    queue: &mut Queue,
    memory: &'m GuestMemoryMmap,
) -> Result<Option<DescriptorChain<&'m GuestMemoryMmap>>, Error> {
    Ok(queue.iter(memory)?.next())
}

/// Interrupts the guest if buffers were returned that it wants to know of.
fn notify(vring: &mut VringState, returned: usize) -> Result<(), Error> {
    if returned > 0 && vring.needs_notification()? {
        // Fails only when the counter of the eventfd is at its end: then an
        // interrupt is pending already.
        let _ = vring.signal_used_queue();
    }
    Ok(())
}
