//! The registers as the guest reads them: memory of ours that the guest sees,
//! read-only, through a memory slot of KVM's.
//!
//! A read is a read of memory: no exit, no code of ours. A write leaves the
//! guest, and whoever handles it changes here what the next read shall find
//! (docs/decisions/0015-registers-in-read-only-memory.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use vm_memory::{MmapRegion, VolatileMemory, mmap::MmapRegionError};

use super::register::{self, CONFIG};
use super::slot::Slot;

/// Bytes of configuration that a slot has room for.
pub const MOST_CONFIG: usize = Slot::BYTES - register::CONFIG_BYTES;

/// The registers of all slots.
#[derive(Clone, Debug)]
pub struct Windows(Arc<MmapRegion>);

impl Windows {
    /// Of slots that are all empty.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new() -> Result<Self, MmapRegionError> {
        let size = usize::try_from(Slot::TOTAL).unwrap_or(usize::MAX);
        let windows = Self(Arc::new(MmapRegion::new(size)?));
        Slot::all().for_each(|slot| windows.of(slot).clear());
        Ok(windows)
    }

    /// Those of `slot`.
    #[must_use]
    pub fn of(&self, slot: Slot) -> Window {
        Window {
            memory: Arc::clone(&self.0),
            start: slot.number() * Slot::BYTES,
        }
    }

    /// Where they are in this process, to give to KVM.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

/// The registers of one slot.
#[derive(Clone, Debug)]
pub struct Window {
    memory: Arc<MmapRegion>,
    start: usize,
}

impl Window {
    /// Makes the slot an empty one: drivers leave device 0 alone (virtio 1.2,
    /// section 4.2.2.2).
    pub fn clear(&self) {
        for offset in (0..Slot::SIZE).step_by(4) {
            self.set(offset, 0);
        }
        self.set(register::MAGIC_VALUE, register::MAGIC);
        self.set(register::VERSION, register::MODERN);
        self.set(register::VENDOR_ID, register::VENDOR);
        self.set(register::DEVICE_ID, register::NO_DEVICE);
        // No shared memory region is ever there.
        for offset in [
            register::SHM_LEN_LOW,
            register::SHM_LEN_HIGH,
            register::SHM_BASE_LOW,
            register::SHM_BASE_HIGH,
        ] {
            self.set(offset, register::NO_REGION);
        }
    }

    /// What the register at `offset` reads from now on.
    pub fn set(&self, offset: u64, value: u32) {
        if let Some(at) = self.index(offset)
            && let Ok(word) = self.memory.get_atomic_ref::<AtomicU32>(at)
        {
            word.store(value.to_le(), Ordering::Release);
        }
    }

    /// What the register at `offset` reads.
    #[must_use]
    pub fn get(&self, offset: u64) -> u32 {
        let word = self
            .index(offset)
            .and_then(|at| self.memory.get_atomic_ref::<AtomicU32>(at).ok());
        word.map_or(0, |word| u32::from_le(word.load(Ordering::Acquire)))
    }

    /// Replaces the configuration. What is beyond [`MOST_CONFIG`] has no room.
    pub fn set_config(&self, bytes: &[u8]) {
        for (offset, byte) in (CONFIG..Slot::SIZE).zip(bytes) {
            if let Some(at) = self.index(offset)
                && let Ok(cell) = self.memory.get_atomic_ref::<AtomicU8>(at)
            {
                cell.store(*byte, Ordering::Release);
            }
        }
    }

    fn index(&self, offset: u64) -> Option<usize> {
        let offset = usize::try_from(offset).ok()?;
        (offset < Slot::BYTES).then_some(self.start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_slot_says_so_and_nothing_else() {
        let windows = Windows::new().unwrap();
        for slot in Slot::all() {
            let window = windows.of(slot);
            assert_eq!(window.get(register::MAGIC_VALUE), 0x7472_6976);
            assert_eq!(window.get(register::VERSION), 2);
            assert_eq!(window.get(register::DEVICE_ID), 0);
            assert_eq!(window.get(register::SHM_LEN_LOW), u32::MAX);
            assert_eq!(window.get(CONFIG), 0);
        }
    }

    #[test]
    fn windows_do_not_touch_each_other() {
        let windows = Windows::new().unwrap();
        let [first, second] = [0, 1].map(|n| windows.of(Slot::new(n).unwrap()));
        first.set_config(&[0xff; 1000]);
        first.set(Slot::SIZE, 7);
        assert_eq!(first.get(Slot::SIZE - 4), u32::MAX);
        assert_eq!(second.get(0), register::MAGIC);
        second.clear();
        assert_eq!(first.get(CONFIG), u32::MAX);
    }
}
