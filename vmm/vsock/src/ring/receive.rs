//! Packets for the guest, from the device to the rx queue.

use super::chain::{Access, Buffer};
use super::{BUDGET, Pass, is_live, notify, pop};
use crate::device::{Device, MAX_PAYLOAD};
use crate::state::packet::HEADER_LEN;
use vhost_user_backend::VringState;
use virtio_queue::{Error, QueueOwnedT};
use vm_memory::GuestMemoryMmap;

/// No packet is larger, so no more of a chain is looked at.
const LIMIT: usize = HEADER_LEN + MAX_PAYLOAD as usize;

/// What became of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It was returned.
    Returned,
    /// There was nothing to put into it.
    NothingToSend,
    /// There was none.
    NoBuffer,
}

/// Puts packets into the guest's buffers as long as there are both, and it is
/// our turn. The guest is asked to notify us only when buffers are missing.
///
/// # Errors
/// When the queue itself is not what it should be.
pub fn serve(
    vring: &mut VringState,
    memory: &GuestMemoryMmap,
    device: &mut Device,
) -> Result<Pass, Error> {
    if !is_live(vring) || !device.has_packets() {
        return Ok(Pass::Idle);
    }
    let mut returned = 0;
    let pass = serve_live(vring, memory, device, &mut returned);
    notify(vring, returned)?;
    device.settle();
    pass
}

fn serve_live(
    vring: &mut VringState,
    memory: &GuestMemoryMmap,
    device: &mut Device,
    returned: &mut usize,
) -> Result<Pass, Error> {
    vring.disable_notification()?;
    let mut asked_for_buffers = false;
    while device.has_packets() {
        if *returned == BUDGET {
            return Ok(Pass::Unfinished);
        }
        match step(vring, memory, device)? {
            Step::Returned => {
                *returned += 1;
                asked_for_buffers = false;
            }
            Step::NothingToSend => break,
            Step::NoBuffer => {
                // A queue that promises buffers and gives none is broken.
                if !vring.enable_notification()? || asked_for_buffers {
                    break;
                }
                asked_for_buffers = true;
            }
        }
    }
    Ok(Pass::Idle)
}

fn step(
    vring: &mut VringState,
    memory: &GuestMemoryMmap,
    device: &mut Device,
) -> Result<Step, Error> {
    let Some(chain) = pop(vring.get_queue_mut(), memory)? else {
        return Ok(Step::NoBuffer);
    };
    let head = chain.head_index();
    let written = match Buffer::of(chain, memory, Access::Write, LIMIT) {
        Ok(room) => device.receive(&room),
        Err(why) => {
            device.reject(&why);
            Some(0)
        }
    };
    let Some(written) = written else {
        vring.get_queue_mut().go_to_previous_position();
        return Ok(Step::NothingToSend);
    };
    vring.add_used(head, written)?;
    Ok(Step::Returned)
}
