//! A virtqueue before the device uses it: what the driver wrote about it.

use virtio_queue::{Error, Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// A queue that no device can use.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A number or address in itself.
    #[error("queue {index}: {field} {value:#x} is not possible")]
    Field {
        /// Which queue.
        index: usize,
        /// What.
        field: &'static str,
        /// As the driver wrote it.
        value: u64,
        /// What is wrong with it.
        #[source]
        source: Error,
    },
    /// Its rings are not in the guest's memory.
    #[error("queue {index}: its rings are outside of guest memory")]
    Outside {
        /// Which queue.
        index: usize,
    },
}

/// One of the three parts of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Descriptor table.
    Descriptors = 0,
    /// Driver area: what is available.
    Driver = 1,
    /// Device area: what was used.
    Device = 2,
}

/// Half of an address: registers have 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 0 to 31.
    Low,
    /// Bits 32 to 63.
    High,
}

/// What the driver wrote about a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueSetup {
    most: u16,
    size: u32,
    parts: [u64; 3],
    /// Whether the driver calls it ready.
    pub ready: bool,
}

impl QueueSetup {
    /// Of at most `most` entries.
    #[must_use]
    pub fn new(most: u16) -> Self {
        Self {
            most,
            size: u32::from(most),
            parts: [0; 3],
            ready: false,
        }
    }

    /// Most entries that it can have.
    #[must_use]
    pub fn most(&self) -> u16 {
        self.most
    }

    /// Forgets what the driver wrote.
    pub fn reset(&mut self) {
        *self = Self::new(self.most);
    }

    /// The driver chooses its size.
    pub fn set_size(&mut self, size: u32) {
        self.size = size;
    }

    /// The driver writes half of an address.
    pub fn set_address(&mut self, part: Part, half: Half, value: u32) {
        let value = u64::from(value);
        if let Some(address) = self.parts.get_mut(part as usize) {
            *address = match half {
                Half::Low => *address & !0xffff_ffff | value,
                Half::High => *address & 0xffff_ffff | value << 32,
            };
        }
    }

    /// The queue, checked.
    ///
    /// # Errors
    /// When it cannot be one: sizes that are no power of two or too large,
    /// addresses that are not aligned or not RAM.
    pub fn build(
        &self,
        index: usize,
        memory: &GuestMemoryMmap,
        event_idx: bool,
    ) -> Result<Queue, QueueError> {
        let refused = |field, value| {
            move |source| QueueError::Field {
                index,
                field,
                value,
                source,
            }
        };
        let size = u64::from(self.size);
        let mut queue = Queue::new(self.most).map_err(refused("size", size))?;
        let entries = u16::try_from(self.size).unwrap_or(0);
        queue.try_set_size(entries).map_err(refused("size", size))?;
        let [descriptors, driver, device] = self.parts;
        queue
            .try_set_desc_table_address(GuestAddress(descriptors))
            .map_err(refused("descriptor table", descriptors))?;
        queue
            .try_set_avail_ring_address(GuestAddress(driver))
            .map_err(refused("driver area", driver))?;
        queue
            .try_set_used_ring_address(GuestAddress(device))
            .map_err(refused("device area", device))?;
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        match queue.is_valid(memory) {
            true => Ok(queue),
            false => Err(QueueError::Outside { index }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;

    fn setup(size: u32, parts: [u64; 3]) -> QueueSetup {
        let mut setup = QueueSetup::new(256);
        setup.set_size(size);
        for (part, address) in [Part::Descriptors, Part::Driver, Part::Device]
            .into_iter()
            .zip(parts)
        {
            setup.set_address(part, Half::High, u32::try_from(address >> 32).unwrap());
            setup.set_address(
                part,
                Half::Low,
                u32::try_from(address & 0xffff_ffff).unwrap(),
            );
        }
        setup
    }

    #[test]
    fn a_queue_in_ram_is_one() {
        let memory = ram::allocate(64).unwrap();
        let queue = setup(16, [0x1000, 0x2000, 0x3000]);
        let queue = queue.build(0, &memory, true).unwrap();
        assert_eq!(queue.size(), 16);
        assert_eq!(queue.desc_table(), 0x1000);
        assert_eq!(queue.avail_ring(), 0x2000);
        assert_eq!(queue.used_ring(), 0x3000);
        assert!(queue.event_idx_enabled());
    }

    #[test]
    fn impossible_queues_are_refused() {
        let memory = ram::allocate(64).unwrap();
        let good = [0x1000, 0x2000, 0x3000];
        for size in [0, 3, 512, 65536, 65536 + 16, u32::MAX] {
            let built = setup(size, good).build(1, &memory, false);
            let refused = matches!(built, Err(QueueError::Field { field: "size", .. }));
            assert!(refused, "{size}");
        }
        for parts in [
            [0x1001, 0x2000, 0x3000],
            [0x1000, 0x2001, 0x3000],
            [0x1000, 0x2000, 0x3002],
            [64 << 20, 0x2000, 0x3000],
            [0x1000, (64 << 20) - 4, 0x3000],
            [0x1000, 0x2000, u64::MAX - 3],
            [1 << 40, 1 << 40, 1 << 40],
        ] {
            assert!(
                setup(16, parts).build(1, &memory, false).is_err(),
                "{parts:x?}"
            );
        }
    }
}
