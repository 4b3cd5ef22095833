//! Packets of the guest, from the tx queue to the device.

use super::chain::{Access, Buffer};
use super::{BUDGET, Pass, is_live, notify, pop};
use crate::device::Device;
use crate::state::limits::LARGE_BUFFER;
use crate::state::packet::HEADER_LEN;
use vhost_user_backend::VringState;
use virtio_queue::{DescriptorChain, Error, QueueT};
use vm_memory::GuestMemoryMmap;

/// No connection takes a larger packet, so no more of a chain is looked at.
const LIMIT: usize = HEADER_LEN + LARGE_BUFFER as usize;

/// Takes packets as long as there are any, the device takes them, and it is
/// our turn. A device that is congested takes them again after it could send:
/// the guest need not notify us.
///
/// # Errors
/// When the queue itself is not what it should be.
pub fn serve(
    vring: &mut VringState,
    memory: &GuestMemoryMmap,
    device: &mut Device,
) -> Result<Pass, Error> {
    if !is_live(vring) {
        return Ok(Pass::Idle);
    }
    let mut taken = 0;
    let pass = serve_live(vring, memory, device, &mut taken);
    notify(vring, taken)?;
    pass
}

/// Takes what the guest had made available when the front end took the queue
/// back. That may be the last a guest says before its machine ends, and the
/// notification for it may never be seen.
///
/// # Errors
/// When the queue itself is not what it should be.
pub fn serve_rest(
    vring: &mut VringState,
    memory: &GuestMemoryMmap,
    device: &mut Device,
) -> Result<(), Error> {
    if vring.get_kick().is_none() {
        return Ok(());
    }
    let mut taken = 0;
    vring.get_queue_mut().set_ready(true);
    let pass = serve_live(vring, memory, device, &mut taken);
    vring.get_queue_mut().set_ready(false);
    notify(vring, taken)?;
    pass.map(drop)
}

fn serve_live(
    vring: &mut VringState,
    memory: &GuestMemoryMmap,
    device: &mut Device,
    taken: &mut usize,
) -> Result<Pass, Error> {
    let mut empty_rounds = 0;
    loop {
        vring.disable_notification()?;
        let before = *taken;
        while device.takes_packets() {
            if *taken == BUDGET {
                return Ok(Pass::Unfinished);
            }
            let Some(chain) = pop(vring.get_queue_mut(), memory)? else {
                break;
            };
            *taken += 1;
            let head = chain.head_index();
            take(chain, memory, device);
            vring.add_used(head, 0)?;
        }
        if !device.takes_packets() || !vring.enable_notification()? {
            return Ok(Pass::Idle);
        }
        // More came in while notifications were off. A queue that says so and
        // then gives nothing is broken: do not ask it again and again.
        empty_rounds = if *taken == before {
            empty_rounds + 1
        } else {
            0
        };
        if empty_rounds > 1 {
            return Ok(Pass::Idle);
        }
    }
}

fn take(chain: DescriptorChain<&GuestMemoryMmap>, memory: &GuestMemoryMmap, device: &mut Device) {
    match Buffer::of(chain, memory, Access::Read, LIMIT) {
        Ok(packet) => device.transmit(&packet),
        Err(why) => device.reject(&why),
    }
}
