//! The entropy device (virtio 1.2, section 5.4): one queue of buffers to fill.

use std::borrow::Cow;
use std::os::fd::{AsRawFd, BorrowedFd};

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestMemoryMmap};

use super::device::{Device, DeviceError, Interrupt, ReadyQueue, Served, Start};
use crate::events::{Interest, Sources};

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
    queue: ReadyQueue,
    memory: GuestMemoryMmap,
    interrupt: Interrupt,
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
        let watched = sources.watch(borrowed(&queue.kick), 0, Interest::Readable);
        watched.map_err(|source| DeviceError::Events {
            device: NAME,
            source,
        })?;
        self.running = Some(Running {
            queue,
            memory: start.memory,
            interrupt: start.interrupt,
            _sources: sources,
        });
        Ok(())
    }

    fn serve(&mut self, _source: u16) -> Result<Served, DeviceError> {
        match &mut self.running {
            Some(running) => Ok(running.serve()),
            None => Ok(Served::Quiet),
        }
    }

    fn stop(&mut self) -> Result<(), DeviceError> {
        self.running = None;
        Ok(())
    }
}

impl Running {
    fn serve(&mut self) -> Served {
        // Empty if the kick was taken already.
        let _ = self.queue.kick.read();
        match self.fill() {
            Ok(()) => Served::Quiet,
            Err(_) => Served::NeedsReset,
        }
    }

    /// Fills what is available now, at most a queue's worth: a driver that adds
    /// buffers as fast as they are filled would keep the thread.
    fn fill(&mut self) -> Result<(), virtio_queue::Error> {
        let queue = &mut self.queue.queue;
        for _ in 0..QUEUE_SIZE {
            let Some(chain) = queue.iter(&self.memory)?.next() else {
                break;
            };
            let head = chain.head_index();
            let written = write(chain, &self.memory);
            queue.add_used(&self.memory, head, written)?;
        }
        if queue.needs_notification(&self.memory)? {
            self.interrupt.notify();
        }
        if queue.iter(&self.memory)?.next().is_some() {
            queue.go_to_previous_position();
            // Full only if nobody has read it 2^64 times.
            let _ = self.queue.kick.write(1);
        }
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

#[allow(unsafe_code)] // The type lends its descriptor by number only.
fn borrowed(event: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps the descriptor open for the borrow's life.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
