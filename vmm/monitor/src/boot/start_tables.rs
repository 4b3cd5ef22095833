//! Page tables and segments of the first processor when it starts.
//!
//! The 64-bit boot protocol wants paging on, the kernel, the zero page and the
//! command line mapped where they are, and a flat code segment at selector
//! 0x10 and data segment at 0x18. The kernel replaces both at once.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::memory::layout::{BOOT_GDT, BOOT_PAGE_TABLES};

/// A segment, as the processor has it in its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its descriptor is in the table.
    pub selector: u16,
    /// Type, with the accessed bit set (Intel SDM vol. 3A, tables 3-1 and 3-2).
    pub kind: u8,
    /// Code or data, in contrast to a system segment.
    pub is_code_or_data: bool,
    /// 64-bit code.
    pub is_long: bool,
}

/// Code, data, task state.
pub const BOOT_SEGMENTS: [Segment; 3] = [
    Segment {
        selector: 0x10,
        // Execute, read, accessed.
        kind: 0xb,
        is_code_or_data: true,
        is_long: true,
    },
    Segment {
        selector: 0x18,
        // Read, write, accessed.
        kind: 0x3,
        is_code_or_data: true,
        is_long: false,
    },
    Segment {
        selector: 0x20,
        // 64-bit task state, busy.
        kind: 0xb,
        is_code_or_data: false,
        is_long: false,
    },
];

impl Segment {
    /// Its descriptor: base 0, limit 4 GiB, present, privilege 0
    /// (Intel SDM vol. 3A, figure 3-8).
    #[must_use]
    pub fn descriptor(self) -> u64 {
        const LIMIT: u64 = 0x000f_0000_0000_ffff;
        const PRESENT: u64 = 1 << 47;
        const PAGES: u64 = 1 << 55;
        let kind = u64::from(self.kind) << 40;
        let code_or_data = u64::from(self.is_code_or_data) << 44;
        let long = u64::from(self.is_long) << 53;
        // A segment is 64-bit or 32-bit, never both.
        let wide = u64::from(self.is_code_or_data && !self.is_long) << 54;
        LIMIT | PRESENT | PAGES | kind | code_or_data | long | wide
    }
}

const PAGE: u64 = 4096;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;
/// One table's worth of large pages: the first GiB.
const LARGE_PAGES: u64 = 512;
const LARGE_PAGE: u64 = 2 << 20;

pub(super) fn write(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    for segment in BOOT_SEGMENTS {
        let address = GuestAddress(BOOT_GDT.0 + u64::from(segment.selector));
        memory.write_obj(segment.descriptor(), address)?;
    }
    let root = BOOT_PAGE_TABLES.0;
    let pointers = root + PAGE;
    let directory = pointers + PAGE;
    memory.write_obj(pointers | PRESENT_WRITABLE, GuestAddress(root))?;
    memory.write_obj(directory | PRESENT_WRITABLE, GuestAddress(pointers))?;
    let mut pages = Vec::with_capacity(usize::try_from(PAGE).unwrap_or(0));
    for page in 0..LARGE_PAGES {
        let entry = (page * LARGE_PAGE) | PRESENT_WRITABLE | LARGE;
        pages.extend(entry.to_le_bytes());
    }
    memory.write_slice(&pages, GuestAddress(directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;

    #[test]
    fn descriptors_are_those_of_the_boot_protocol() {
        let [code, data, task] = BOOT_SEGMENTS.map(Segment::descriptor);
        assert_eq!(code, 0x00af_9b00_0000_ffff);
        assert_eq!(data, 0x00cf_9300_0000_ffff);
        assert_eq!(task, 0x008f_8b00_0000_ffff);
    }

    #[test]
    fn the_first_gib_is_mapped_where_it_is() {
        let memory = ram::allocate(64).unwrap();
        write(&memory).unwrap();
        let read = |address: u64| memory.read_obj::<u64>(GuestAddress(address)).unwrap();
        let frame = |entry: u64| entry & 0x000f_ffff_ffff_f000;
        let walk = |address: u64| {
            let pointers = frame(read(BOOT_PAGE_TABLES.0));
            let directory = frame(read(pointers + (address >> 30 & 511) * 8));
            let page = read(directory + (address >> 21 & 511) * 8);
            assert_eq!(page & 0xfff, 0x83);
            frame(page) + (address & (LARGE_PAGE - 1))
        };
        for address in [0, 0x7000, 0x100_0000, (1 << 30) - 1] {
            assert_eq!(walk(address), address);
        }
    }
}
