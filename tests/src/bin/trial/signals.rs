//! Signals that arrive. The C library keeps two of them for itself: so the kernel
//! is asked, not the library.
#![allow(unsafe_code, reason = "nothing safe waits for every signal")]

use std::io::{self, Write};
use std::ptr;

use anyhow::{Context, Result};
use nix::libc;

/// A bit for each of 64.
static ALL: u64 = !0;

/// Says `waiting`, and then the number of each signal that comes, for ever.
pub(crate) fn say() -> Result<()> {
    // SAFETY: the kernel reads 8 bytes; nothing is written.
    let blocked = unsafe {
        let none = ptr::null_mut::<u64>();
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const ALL,
            none,
            size_of_val(&ALL),
        )
    };
    if blocked != 0 {
        return Err(io::Error::last_os_error()).context("block all signals");
    }
    println!("waiting");
    loop {
        // SAFETY: the kernel reads 8 bytes, and is given nowhere to write to.
        let number = unsafe {
            let none = ptr::null_mut::<libc::siginfo_t>();
            let for_ever = ptr::null::<libc::timespec>();
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const ALL,
                none,
                for_ever,
                size_of_val(&ALL),
            )
        };
        if number > 0 {
            println!("{number}");
            io::stdout().flush()?;
        }
    }
}
