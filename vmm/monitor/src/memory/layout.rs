//! Where things are in the guest's physical address space.
//!
//! ```text
//! 0            what a kernel needs at boot, below 1 MiB; then RAM
//! 3 GiB        end of low RAM
//! 3.25 GiB     device registers (virtio::slot)
//! 3.98 GiB     I/O APIC and local APICs, where every PC has them
//! 4 GiB        the rest of RAM
//! behind it    memory that can come later, at a multiple of 2 GiB
//! ```

use vm_memory::GuestAddress;

/// End of low RAM at most, and what lies between it and [`HIGH_RAM`] is not RAM.
pub const LOW_RAM_END: u64 = 3 << 30;
/// Where RAM goes on that has no room below [`LOW_RAM_END`].
pub const HIGH_RAM: u64 = 4 << 30;

/// The kernel's reboot mode, written by its BIOS-compatible reset
/// (the BIOS data area's "soft reset flag").
pub const RESET_FLAG: GuestAddress = GuestAddress(0x472);
/// Global descriptor table of the first processor at its start.
pub const BOOT_GDT: GuestAddress = GuestAddress(0x500);
/// `struct boot_params`, one page.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// Three pages of page tables, each mapping the next.
pub const BOOT_PAGE_TABLES: GuestAddress = GuestAddress(0x9000);
/// The kernel's command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// End of conventional memory.
pub const CONVENTIONAL_END: u64 = 0xa_0000;
/// The multiprocessor tables, in what was a PC's BIOS.
pub const MP_TABLE: GuestAddress = GuestAddress(0xf_0000);
/// Kernels are above.
pub const KERNEL_START: u64 = 1 << 20;

/// Least RAM, bytes: a kernel of ours with its initramfs comes up in it.
const LEAST: u64 = 64 << 20;
/// Most RAM, bytes: every processor of the last ten years can address it.
const MOST: u64 = 1 << 39;

/// Largest piece that Linux adds memory by (arch/x86/mm/init_64.c,
/// MAX_BLOCK_SIZE): what starts at a multiple of it starts with a piece.
const LATE_ALIGNMENT: u64 = 2 << 30;

/// RAM of an impossible size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mib} MiB of guest memory: it has to be between {} and {} MiB", LEAST >> 20, MOST >> 20)]
pub struct SizeError {
    mib: u64,
}

/// A piece of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it starts in the guest.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// Where it starts in the file that holds all RAM.
    pub offset: u64,
}

/// The pieces of `mib` MiB of RAM, in ascending order: one, or one on each
/// side of the gap.
///
/// # Errors
/// When no machine can have that much or so little.
pub fn ram(mib: u64) -> Result<Vec<Range>, SizeError> {
    let total = mib
        .checked_mul(1 << 20)
        .filter(|bytes| (LEAST..=MOST).contains(bytes))
        .ok_or(SizeError { mib })?;
    let low = total.min(LOW_RAM_END);
    let ranges = [
        Range {
            start: 0,
            length: low,
            offset: 0,
        },
        Range {
            start: HIGH_RAM,
            length: total - low,
            offset: low,
        },
    ];
    Ok(ranges.into_iter().filter(|r| r.length > 0).collect())
}

/// Where `bytes` can come later to a machine with `ram`. No two ranges touch:
/// a buffer is never in both.
#[must_use]
pub fn late(ram: &[Range], bytes: u64) -> Range {
    let length = ram.iter().map(|range| range.length).sum();
    let end = ram.iter().map(|range| range.start + range.length).max();
    let end = end.unwrap_or(0).max(HIGH_RAM);
    Range {
        start: (end + 1).next_multiple_of(LATE_ALIGNMENT),
        length: bytes,
        offset: length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_ram_is_one_piece() {
        let range = Range {
            start: 0,
            length: 256 << 20,
            offset: 0,
        };
        assert_eq!(ram(256), Ok(vec![range]));
        assert_eq!(ram(3072).unwrap().len(), 1);
    }

    #[test]
    fn much_ram_leaves_the_gap_free_and_the_file_without_holes() {
        let ranges = ram(5 << 10).unwrap();
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[0].length, LOW_RAM_END);
        assert_eq!(ranges[1].start, HIGH_RAM);
        assert_eq!(ranges[1].length, 2 << 30);
        assert_eq!(ranges[1].offset, ranges[0].length);
    }

    #[test]
    fn what_comes_late_is_behind_all_else_and_touches_nothing() {
        for mib in [64, 3 << 10, 5 << 10, 7 << 10, 64 << 10] {
            let ram = ram(mib).unwrap();
            let late = late(&ram, 1 << 30);
            let last = ram.last().unwrap();
            assert!(late.start > last.start + last.length && late.start > HIGH_RAM);
            assert_eq!(late.start % LATE_ALIGNMENT, 0);
            assert_eq!((late.offset, late.length), (mib << 20, 1 << 30));
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for mib in [0, 63, (MOST >> 20) + 1, u64::MAX] {
            assert_eq!(ram(mib), Err(SizeError { mib }));
        }
    }
}
