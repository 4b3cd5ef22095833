//! Maps pieces of the memory file so that huge pages fit.

#![allow(unsafe_code)] // mmap(2) and madvise(2) take memory by its address.

use vm_memory::FileOffset;
use vm_memory::mmap::{MmapRegion, MmapRegionBuilder, MmapRegionError};

/// Bytes of a huge page on x86-64.
pub(super) const HUGE_PAGE: usize = 2 << 20;
const SMALL_PAGE: usize = 4 << 10;

/// Maps `length` bytes of a file, shared, at a multiple of [`HUGE_PAGE`] if that
/// can be had: the kernel maps a huge page of the file as one only where both are
/// aligned.
pub(super) fn aligned(file: FileOffset, length: usize) -> Result<MmapRegion, MmapRegionError> {
    let anywhere = map(file.clone(), length)?;
    let place = anywhere.as_ptr();
    drop(anywhere);
    let _filler = Filler::below_which_a_mapping_is_aligned(place, length);
    map(file, length)
}

fn map(file: FileOffset, length: usize) -> Result<MmapRegion, MmapRegionError> {
    MmapRegionBuilder::new(length)
        .with_file_offset(file)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
        .build()
}

/// Takes the addresses that would keep a mapping from being aligned, for the
/// kernel puts each mapping right below the last one. Dropped, they are free.
struct Filler {
    start: *mut libc::c_void,
    length: usize,
}

impl Filler {
    /// `place` is where the kernel puts the mapping without it. None if nothing
    /// is needed, or the addresses are not to be had.
    fn below_which_a_mapping_is_aligned(place: *mut u8, length: usize) -> Option<Self> {
        let over = place.addr() % HUGE_PAGE;
        if over == 0 {
            return None;
        }
        let start = place.wrapping_add(length.checked_sub(over)?).cast();
        let flags = libc::MAP_FIXED_NOREPLACE
            | libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_NORESERVE;
        // SAFETY: no mapping that exists is replaced.
        let got = unsafe { libc::mmap(start, over, libc::PROT_NONE, flags, -1, 0) };
        (got != libc::MAP_FAILED).then_some(Self {
            start: got,
            length: over,
        })
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // SAFETY: its own addresses, which hold nothing.
        unsafe { libc::munmap(self.start, self.length) };
    }
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
            // Other tests map too, at the same time.
            let aligned = || region(length).as_ptr().align_offset(HUGE_PAGE) == 0;
            assert!((0..50).any(|_| aligned()), "{length}");
        }
    }

    #[test]
    fn what_is_dropped_is_unmapped() {
        let mapped = || std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = |text: String| text.split(' ').next().unwrap().parse::<u64>().unwrap();
        let before = pages(mapped());
        for _ in 0..100 {
            drop(region(1 << 30));
        }
        // Much less than all of them; other tests map too.
        assert!(pages(mapped()) < before + (20 << 30) / 4096);
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
