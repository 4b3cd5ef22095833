//! The entropy device (virtio 1.2, section 5.4): one queue of buffers to fill.

use std::borrow::Cow;

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::device::{Device, DeviceError, Served, Start};
use super::ring::Ring;
use crate::events::Sources;

const NAME: &str = "rng";
const QUEUE_SIZE: u16 = 8;

/// Bytes that one buffer gets at most; a device may give less than there is
/// room for (virtio 1.2, section 5.4.6.2).
const MOST: usize = 256;

/// The device.
#[derive(Default)]
pub struct Rng {
    running: Option<Running>,
}

struct Running {
    ring: Ring,
    memory: GuestMemoryMmap,
    _sources: Sources,
}

impl Device for Rng {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn features(&mut self) -> Result<u64, DeviceError> {
        Ok(0)
    }

    fn config(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&[])
    }

    fn start(&mut self, start: Start) -> Result<(), DeviceError> {
        let mut sources = start.sources;
        let Some(queue) = start.queues.into_iter().next().flatten() else {
            return Ok(());
        };
        let ring = Ring::new(queue, start.interrupt);
        let watched = ring.watch(&mut sources, 0);
        watched.map_err(|source| DeviceError::Events {
            device: NAME,
            source,
        })?;
        self.running = Some(Running {
            ring,
            memory: start.memory,
            _sources: sources,
        });
        Ok(())
    }

    fn serve(&mut self, _source: u16) -> Result<Served, DeviceError> {
        let Some(Running { ring, memory, .. }) = &mut self.running else {
            return Ok(Served::Quiet);
        };
        match ring.serve_all(memory, |chain| write(chain, memory)) {
            Ok(()) => Ok(Served::Quiet),
            Err(_) => Ok(Served::broken(&mut self.running)),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        Ok(())
    }
}

/// Writes to the first buffer of the chain that takes any. Bytes written.
fn write(chain: DescriptorChain<&GuestMemoryMmap>, memory: &GuestMemoryMmap) -> u32 {
    let Some(buffer) = chain.writable().find(|buffer| buffer.len() > 0) else {
        return 0;
    };
    let mut bytes = [0; MOST];
    let room = usize::try_from(buffer.len()).unwrap_or(MOST).min(MOST);
    let Some(bytes) = bytes.get_mut(..room) else {
        return 0;
    };
    match fill_random(bytes) && memory.write_slice(bytes, buffer.addr()).is_ok() {
        true => u32::try_from(room).unwrap_or(0),
        false => 0,
    }
}

#[allow(unsafe_code)] // getrandom(2) has no safe wrapper here.
fn fill_random(bytes: &mut [u8]) -> bool {
    // SAFETY: the pointer and the length are those of one slice, which may be
    // written to.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    usize::try_from(filled) == Ok(bytes.len())
}
