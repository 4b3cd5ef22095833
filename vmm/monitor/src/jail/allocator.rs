//! Settings of the C library's allocator.

// mallopt(3) has no safe wrapper.
#![allow(unsafe_code)]

/// Makes all threads share one arena. A further one costs memory for as long
/// as the process lives, and shrinking it reads a file of `/proc`, for which
/// the filter would end the process.
///
/// To be called before a second thread exists.
pub(super) fn economize() {
    // SAFETY: takes two numbers, and no other thread is allocating.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
