//! RAM: one memory file, mapped shared, so that device processes can map it
//! too.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    Address, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionCollectionError, GuestRegionMmap,
};

use super::layout::{self, Range, SizeError};
use super::mapping::{self, HUGE_PAGE};

/// Shown in `/proc/PID/maps`.
const NAME: &CStr = c"guest-memory";

/// There is no RAM.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// Of that size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The kernel gives no file for it.
    #[error("make a memory file of {bytes} bytes for the guest's memory")]
    File {
        /// Its size.
        bytes: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not map it.
    #[error("map {bytes} bytes of the guest's memory")]
    Map {
        /// Its size.
        bytes: u64,
        /// Why.
        #[source]
        source: MmapRegionError,
    },
    /// Its pieces are not apart.
    #[error("put the guest's memory together")]
    Pieces(#[source] GuestRegionCollectionError),
    /// What comes late cannot be told from the rest.
    #[error("set {bytes} bytes of memory aside that come later")]
    Split {
        /// How much.
        bytes: u64,
        /// Why.
        #[source]
        source: GuestRegionCollectionError,
    },
}

/// Maps `mib` MiB of RAM, all zero, of which nothing takes up memory yet.
///
/// # Errors
/// See [`RamError`].
pub fn allocate(mib: u64) -> Result<GuestMemoryMmap, RamError> {
    map(&layout::ram(mib)?)
}

/// Guest memory, some of which is not there at the start.
pub struct Growing {
    /// What is there at the start.
    pub ram: GuestMemoryMmap,
    /// That, and what can come.
    pub all: GuestMemoryMmap,
    /// Where the latter is.
    pub late: Range,
}

/// The same with `late` bytes more that can come.
///
/// # Errors
/// See [`RamError`].
pub fn allocate_growing(mib: u64, late: u64) -> Result<Growing, RamError> {
    let mut ranges = layout::ram(mib)?;
    let late = layout::late(&ranges, late);
    ranges.push(late);
    let all = map(&ranges)?;
    // The collection without it; the mapping is that of both.
    let (ram, _) = all
        .remove_region(GuestAddress(late.start), late.length)
        .map_err(|source| RamError::Split {
            bytes: late.length,
            source,
        })?;
    Ok(Growing { ram, all, late })
}

fn map(ranges: &[Range]) -> Result<GuestMemoryMmap, RamError> {
    let bytes = ranges.iter().map(|range| range.length).sum();
    let file = memory_file(bytes).map_err(|source| RamError::File { bytes, source })?;
    let file = Arc::new(file);
    let pieces = ranges
        .iter()
        .map(|range| piece(&file, *range))
        .collect::<Result<_, _>>()?;
    GuestMemoryMmap::from_regions(pieces).map_err(RamError::Pieces)
}

fn piece(file: &Arc<File>, range: Range) -> Result<GuestRegionMmap, RamError> {
    let Range {
        start,
        length: bytes,
        offset,
    } = range;
    let failed = |source| RamError::Map { bytes, source };
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let part = FileOffset::from_arc(Arc::clone(file), offset);
    let region = mapping::aligned(part, length).map_err(failed)?;
    // A kernel that boots touches thousands of pages for the first time, and
    // each is an exit to the host's kernel.
    mapping::prefer_huge_pages(&region);
    GuestRegionMmap::new(region, GuestAddress(start))
        .ok_or_else(|| failed(MmapRegionError::InvalidOffsetLength))
}

/// Backs memory that is sure to be used with huge pages already, from the huge
/// page that `start` is in to the one that `end` is in.
pub fn populate(memory: &GuestMemoryMmap, start: GuestAddress, end: GuestAddress) {
    let Some(region) = memory.find_region(start) else {
        return;
    };
    let offset = |address: GuestAddress| {
        let offset = address.checked_offset_from(region.start_addr())?;
        usize::try_from(offset.min(region.len())).ok()
    };
    if let (Some(from), Some(to)) = (offset(start), offset(end)) {
        let from = from / HUGE_PAGE * HUGE_PAGE;
        let length = to.saturating_sub(from).next_multiple_of(HUGE_PAGE);
        mapping::collapse(region, from, length);
    }
}

/// Its size is sealed: a device process that has it could otherwise cut it
/// off, and this process would die of SIGBUS.
fn memory_file(bytes: u64) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let never_executed = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let file = File::from(match memfd_create(NAME, flags | never_executed) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::EINVAL) => memfd_create(NAME, flags),
        made => made,
    }?);
    file.set_len(bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemoryRegion};

    #[test]
    fn ram_is_there_on_both_sides_of_the_gap() {
        let memory = allocate(4 << 10).unwrap();
        for address in [0, layout::LOW_RAM_END - 8, layout::HIGH_RAM] {
            let address = GuestAddress(address);
            memory.write_obj(0x1234_5678_u64, address).unwrap();
            assert_eq!(memory.read_obj::<u64>(address).unwrap(), 0x1234_5678);
        }
        assert!(!memory.address_in_range(GuestAddress(layout::LOW_RAM_END)));
        assert_eq!(memory.last_addr().0, layout::HIGH_RAM + (1 << 30) - 1);
    }

    #[test]
    fn what_comes_late_is_in_the_same_file_and_not_in_the_ram() {
        let Growing { ram, all, late } = allocate_growing(128, 32 << 20).unwrap();
        let there = GuestAddress(late.start + 8);
        assert!(all.address_in_range(there) && !ram.address_in_range(there));
        all.write_obj(7_u8, there).unwrap();
        ram.write_obj(9_u8, GuestAddress(0)).unwrap();
        assert_eq!(all.read_obj::<u8>(GuestAddress(0)).unwrap(), 9);
        let region = all.find_region(there).unwrap();
        assert_eq!(region.file_offset().unwrap().start(), 128 << 20);
    }

    #[test]
    fn nobody_can_change_its_size() {
        let memory = allocate(64).unwrap();
        let region = memory.iter().next().unwrap();
        let file = region.file_offset().unwrap().file();
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(128 << 20).is_err());
    }
}
