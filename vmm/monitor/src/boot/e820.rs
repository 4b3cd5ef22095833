//! The memory map that a PC's firmware gives to a kernel
//! (ACPI 6.5, section 15; types in table 15.2).

use linux_loader::bootparam::boot_e820_entry;
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::memory::layout::{CONVENTIONAL_END, KERNEL_START, MP_TABLE};

/// AddressRangeMemory.
const RAM: u32 = 1;
/// AddressRangeReserved.
const RESERVED: u32 = 2;

/// In ascending order. What is not in it is nothing to the kernel, or devices.
pub(super) fn entries(memory: &GuestMemoryMmap) -> Vec<boot_e820_entry> {
    let mut entries = vec![
        entry(0, CONVENTIONAL_END, RAM),
        entry(MP_TABLE.0, KERNEL_START, RESERVED),
    ];
    entries.extend(memory.iter().map(|region| {
        let start = region.start_addr().0;
        let end = start.saturating_add(region.len());
        entry(start.max(KERNEL_START), end, RAM)
    }));
    entries
}

fn entry(start: u64, end: u64, kind: u32) -> boot_e820_entry {
    boot_e820_entry {
        addr: start,
        size: end.saturating_sub(start),
        r#type: kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;

    fn map(mib: u64) -> Vec<(u64, u64, u32)> {
        let entries = entries(&ram::allocate(mib).unwrap());
        entries
            .iter()
            .map(|e| (e.addr, { e.addr } + { e.size }, e.r#type))
            .collect()
    }

    #[test]
    fn a_small_machine() {
        let expected = [
            (0, 0xa_0000, 1),
            (0xf_0000, 0x10_0000, 2),
            (0x10_0000, 256 << 20, 1),
        ];
        assert_eq!(map(256), expected);
    }

    #[test]
    fn a_large_machine_has_ram_behind_the_gap_and_none_in_it() {
        let map = map(5 << 10);
        assert_eq!(map[2], (0x10_0000, 3 << 30, 1));
        assert_eq!(map[3], (4 << 30, 6 << 30, 1));
        assert_eq!(map.len(), 4);
    }
}
