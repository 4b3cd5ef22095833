//! Maps pieces of the memory file so that huge pages fit.

#![allow(unsafe_code)] // mmap(2) and madvise(2) take memory by its address.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use vm_memory::FileOffset;
use vm_memory::mmap::{MmapRegion, MmapRegionBuilder, MmapRegionError};

/// Bytes of a huge page on x86-64.
pub(super) const HUGE_PAGE: usize = 2 << 20;
const SMALL_PAGE: usize = 4 << 10;

/// Maps `length` bytes of a file, shared, at a multiple of [`HUGE_PAGE`]: the
/// kernel maps a huge page of the file as one only where both are aligned. It
/// stays mapped until the process ends, like the machine's memory, between
/// addresses that nothing else gets.
pub(super) fn aligned(file: FileOffset, length: usize) -> Result<MmapRegion, MmapRegionError> {
    let failed = || MmapRegionError::Mmap(io::Error::last_os_error());
    let reserved = length.checked_add(HUGE_PAGE).ok_or_else(failed)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: without MAP_FIXED this takes addresses that nothing has.
    let start = unsafe { libc::mmap(ptr::null_mut(), reserved, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(failed());
    }
    let address = start.cast::<u8>();
    let place = address.wrapping_add(address.align_offset(HUGE_PAGE));
    let offset =
        libc::off_t::try_from(file.start()).map_err(|_| MmapRegionError::InvalidOffsetLength)?;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let fd = file.file().as_raw_fd();
    // SAFETY: the addresses are within those reserved above, which are ours and
    // hold nothing.
    let mapped = unsafe { libc::mmap(place.cast(), length, rights, flags, fd, offset) };
    if mapped == libc::MAP_FAILED {
        return Err(failed());
    }
    // SAFETY: what was just mapped, and is never unmapped.
    unsafe { MmapRegionBuilder::new(length).with_raw_mmap_pointer(place) }
        .with_file_offset(file)
        .with_mmap_prot(rights)
        .with_mmap_flags(flags & !libc::MAP_FIXED)
        .build()
}

/// Asks for huge pages where the host gives them on request (`shmem_enabled` =
/// `advise`). Elsewhere it changes nothing, which is no error.
pub(super) fn prefer_huge_pages(region: &MmapRegion) {
    advise(region, 0, region.size(), libc::MADV_HUGEPAGE);
}

/// Backs `length` bytes from `offset` on, both multiples of [`HUGE_PAGE`], with
/// huge pages now, also where the host gives none on request (`never`; only
/// `deny` forbids it). Linux from 6.1 on knows how, and may have none to spare:
/// then the pages are small, which is no error.
pub(super) fn collapse(region: &MmapRegion, offset: usize, length: usize) {
    let end = offset.saturating_add(length);
    if end > region.size() {
        return;
    }
    // There has to be something to collapse.
    for page in (offset..end).step_by(HUGE_PAGE) {
        advise(region, page, SMALL_PAGE, libc::MADV_POPULATE_WRITE);
    }
    advise(region, offset, length, libc::MADV_COLLAPSE);
}

/// Advice that leaves what is in the range, and where it is; so nothing depends
/// on whether it is taken.
fn advise(region: &MmapRegion, offset: usize, length: usize, advice: libc::c_int) {
    // SAFETY: the callers' ranges are within the region's mapping.
    let _ = unsafe { libc::madvise(region.as_ptr().add(offset).cast(), length, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use vm_memory::{Bytes, VolatileMemory};

    fn region(length: usize) -> MmapRegion {
        let file: File = tempfile::tempfile().unwrap();
        file.set_len(length as u64).unwrap();
        aligned(FileOffset::new(file, 0), length).unwrap()
    }

    #[test]
    fn huge_pages_fit() {
        for length in [HUGE_PAGE, 3 * HUGE_PAGE + SMALL_PAGE] {
            let region = region(length);
            assert_eq!(region.as_ptr().align_offset(HUGE_PAGE), 0);
            let last = length - 1;
            region.as_volatile_slice().write_obj(7_u8, last).unwrap();
        }
    }

    #[test]
    fn what_is_there_stays() {
        let region = region(2 * HUGE_PAGE);
        let memory = region.as_volatile_slice();
        for at in [0, HUGE_PAGE - 8, HUGE_PAGE, 2 * HUGE_PAGE - 8] {
            memory.write_obj(at as u64 + 1, at).unwrap();
        }
        prefer_huge_pages(&region);
        collapse(&region, 0, 2 * HUGE_PAGE);
        // Not there: nothing happens.
        collapse(&region, HUGE_PAGE, 2 * HUGE_PAGE);
        collapse(&region, HUGE_PAGE, usize::MAX);
        for at in [0, HUGE_PAGE - 8, HUGE_PAGE, 2 * HUGE_PAGE - 8] {
            assert_eq!(memory.read_obj::<u64>(at).unwrap(), at as u64 + 1);
        }
    }
}
