//! Settings of the C library's allocator.

// mallopt(3) has no safe wrapper.
#![allow(unsafe_code)]

/// Allocations from this size on are given back to the kernel when freed.
const MMAP_THRESHOLD: libc::c_int = 64 << 10;

/// Makes all threads share one arena, and large buffers go back to the kernel.
/// Each further arena would cost memory for as long as the process lives, and
/// shrinking one reads a file in /proc, for which the system call filter would
/// kill the process.
///
/// To be called before a second thread exists.
pub(super) fn economize() {
    // SAFETY: takes two numbers, and no other thread is allocating.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}
