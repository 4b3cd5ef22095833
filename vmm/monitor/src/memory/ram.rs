//! RAM: one memory file, mapped shared, so that device processes can map it
//! too.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use vm_memory::mmap::FromRangesError;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::layout::{self, SizeError};

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
    #[error("map the guest's memory of {bytes} bytes")]
    Map {
        /// Its size.
        bytes: u64,
        /// Why.
        #[source]
        source: FromRangesError,
    },
}

/// Maps `mib` MiB of RAM, all zero, of which nothing takes up memory yet.
///
/// # Errors
/// See [`RamError`].
pub fn allocate(mib: u64) -> Result<GuestMemoryMmap, RamError> {
    let ranges = layout::ram(mib)?;
    let bytes = ranges.iter().map(|range| range.length).sum();
    let file = memory_file(bytes).map_err(|source| RamError::File { bytes, source })?;
    let file = Arc::new(file);
    let pieces = ranges.iter().map(|range| {
        let length = usize::try_from(range.length).unwrap_or(usize::MAX);
        let offset = FileOffset::from_arc(Arc::clone(&file), range.offset);
        (GuestAddress(range.start), length, Some(offset))
    });
    let memory = GuestMemoryMmap::from_ranges_with_files(pieces)
        .map_err(|source| RamError::Map { bytes, source })?;
    prefer_huge_pages(&memory);
    Ok(memory)
}

/// A kernel that boots touches thousands of pages for the first time, and each
/// is an exit to the host's kernel. Where the host allows huge pages of shared
/// memory when asked (`shmem_enabled` = `advise`), this asks; elsewhere it
/// changes nothing, and a host's kernel may lack them, which is no error.
#[allow(unsafe_code)] // madvise(2) takes memory by its address.
fn prefer_huge_pages(memory: &GuestMemoryMmap) {
    for region in memory.iter() {
        // SAFETY: the range is the region's whole mapping. The advice changes
        // neither what is in it nor where it is.
        let _ =
            unsafe { libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_HUGEPAGE) };
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
    fn nobody_can_change_its_size() {
        let memory = allocate(64).unwrap();
        let region = memory.iter().next().unwrap();
        let file = region.file_offset().unwrap().file();
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(128 << 20).is_err());
    }
}
