//! Memory that the guest does not need goes back to the host.
//!
//! A hole in the memory file: gone from every process that maps it. The guest
//! still has the addresses, and finds zeros in new memory when it uses them.

use std::io;

use nix::fcntl::{FallocateFlags, fallocate};
use vm_memory::{
    Address, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

/// Bytes of a page: what the host takes back at once.
pub const PAGE: u64 = 4096;

/// Memory that stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It is not the guest's, or not all of it.
    #[error("{bytes} bytes at guest address {address:#x} are not memory")]
    NotMemory {
        /// Guest physical address.
        address: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The kernel refuses.
    #[error("release {bytes} bytes at guest address {address:#x}")]
    Refused {
        /// Guest physical address.
        address: u64,
        /// Bytes.
        bytes: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Gives back the whole pages among the `bytes` from `address` on.
///
/// # Errors
/// When they are not all in one region of RAM, or the kernel refuses.
pub fn release(
    memory: &GuestMemoryMmap,
    address: GuestAddress,
    bytes: u64,
) -> Result<(), ReleaseError> {
    let (file, start) = locate(memory, address, bytes).ok_or(ReleaseError::NotMemory {
        address: address.0,
        bytes,
    })?;
    // Regions and their places in the file start at pages.
    let (first, end) = (start.next_multiple_of(PAGE), (start + bytes) / PAGE * PAGE);
    if first >= end {
        return Ok(());
    }
    punch(file, first, end - first).map_err(|source| ReleaseError::Refused {
        address: address.0,
        bytes,
        source,
    })
}

/// Where in which file the range is.
fn locate(
    memory: &GuestMemoryMmap,
    address: GuestAddress,
    bytes: u64,
) -> Option<(&FileOffset, u64)> {
    let region = memory.find_region(address)?;
    let offset = address.checked_offset_from(region.start_addr())?;
    let end = offset.checked_add(bytes)?;
    let file = region.file_offset().filter(|_| end <= region.len())?;
    // Neither comes near the end of what a file can have.
    file.start().checked_add(end)?.checked_add(PAGE)?;
    Some((file, file.start() + offset))
}

fn punch(file: &FileOffset, start: u64, bytes: u64) -> io::Result<()> {
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let [start, bytes] = [start, bytes].map(i64::try_from);
    let (Ok(start), Ok(bytes)) = (start, bytes) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok(fallocate(file.file(), hole, start, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{layout, ram};
    use std::os::unix::fs::MetadataExt;
    use vm_memory::Bytes;

    /// Pages that the memory takes up on the host.
    fn taken(memory: &GuestMemoryMmap) -> u64 {
        let region = memory.iter().next().unwrap();
        let file = region.file_offset().unwrap().file();
        file.metadata().unwrap().blocks() * 512 / PAGE
    }

    fn touch(memory: &GuestMemoryMmap, address: u64, pages: u64) {
        for page in 0..pages {
            let address = GuestAddress(address + page * PAGE + 8);
            memory.write_obj(7_u64, address).unwrap();
        }
    }

    #[test]
    fn whole_pages_go_and_parts_of_pages_stay() {
        let memory = ram::allocate(64).unwrap();
        for (address, bytes, left) in [
            (0x10_0000, 4 * PAGE, 0),
            (0x10_0000, 2 * PAGE, 2),
            (0x10_0001, 4 * PAGE - 1, 1),
            (0x10_0000, 4 * PAGE - 1, 1),
            (0x10_0fff, PAGE + 2, 3),
            (0x10_0001, PAGE, 4),
            (0x10_0000, 0, 4),
        ] {
            touch(&memory, 0x10_0000, 4);
            assert_eq!(taken(&memory), 4);
            release(&memory, GuestAddress(address), bytes).unwrap();
            assert_eq!(taken(&memory), left, "{address:#x} {bytes:#x}");
        }
        release(&memory, GuestAddress(0), 64 << 20).unwrap();
        let content: u64 = memory.read_obj(GuestAddress(0x10_0008)).unwrap();
        assert_eq!(content, 0);
    }

    #[test]
    fn both_sides_of_the_gap_are_in_their_places() {
        let memory = ram::allocate(4 << 10).unwrap();
        let last_low = layout::LOW_RAM_END - PAGE;
        touch(&memory, last_low, 1);
        touch(&memory, layout::HIGH_RAM, 2);
        release(&memory, GuestAddress(layout::HIGH_RAM + PAGE), PAGE).unwrap();
        assert_eq!(taken(&memory), 2);
        let kept: u64 = memory.read_obj(GuestAddress(layout::HIGH_RAM + 8)).unwrap();
        assert_eq!(kept, 7);
        release(&memory, GuestAddress(last_low), PAGE).unwrap();
        assert_eq!(taken(&memory), 1);
    }

    #[test]
    fn nothing_but_memory_is_released() {
        let memory = ram::allocate(4 << 10).unwrap();
        touch(&memory, layout::LOW_RAM_END - PAGE, 1);
        let end = layout::HIGH_RAM + (1 << 30);
        for (address, bytes) in [
            (layout::LOW_RAM_END, PAGE),
            (layout::LOW_RAM_END - PAGE, 2 * PAGE),
            (0xd000_0000, PAGE),
            (layout::LOW_RAM_END - PAGE, 2 << 30),
            (end, PAGE),
            (end - PAGE, PAGE + 1),
            (0, u64::MAX),
            (PAGE, u64::MAX),
            (u64::MAX, 1),
        ] {
            let refused = release(&memory, GuestAddress(address), bytes);
            assert!(matches!(refused, Err(ReleaseError::NotMemory { .. })));
        }
        // A look at sealed memory that was refused took nothing away.
        assert_eq!(taken(&memory), 1);
    }
}
