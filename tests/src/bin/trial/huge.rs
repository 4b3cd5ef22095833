//! Memory in huge pages: mapped without a file, of a file of theirs, or as a shared
//! memory segment (mmap(2), shmget(2)).
#![allow(unsafe_code, reason = "nothing safe asks for huge pages")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result};
use nix::libc;

/// What memory is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) page_mib: usize,
    pub(crate) count: usize,
    /// Nothing is promised before it is written to.
    pub(crate) unreserved: bool,
}

impl Wanted {
    fn page(self) -> usize {
        self.page_mib << 20
    }

    fn bytes(self) -> usize {
        self.count * self.page()
    }

    /// How `MAP_HUGETLB` and `SHM_HUGETLB` are told of the size of pages: its
    /// logarithm, from bit 26.
    fn size_bits(self) -> i32 {
        let logarithm = self.page().trailing_zeros();
        i32::try_from(logarithm << libc::MAP_HUGE_SHIFT).unwrap_or_default()
    }
}

/// Maps huge pages of no file, and writes to each.
pub(crate) fn map(wanted: Wanted) -> Result<()> {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let memory = mapped(wanted, kind | wanted.size_bits(), -1);
    write(wanted, memory.context("map huge pages")?);
    Ok(())
}

/// Maps a file in huge pages, as large as what is wanted, and writes to each.
pub(crate) fn map_file(wanted: Wanted, path: &Path) -> Result<()> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    file.set_len(u64::try_from(wanted.bytes())?)
        .with_context(|| format!("make {} larger", path.display()))?;
    let memory = mapped(wanted, libc::MAP_SHARED, file.as_raw_fd());
    write(
        wanted,
        memory.with_context(|| format!("map {}", path.display()))?,
    );
    Ok(())
}

/// Makes a shared memory segment, and writes to each of its pages.
pub(crate) fn share(wanted: Wanted) -> Result<()> {
    let flags = libc::IPC_CREAT | libc::SHM_HUGETLB | wanted.size_bits() | 0o600;
    // SAFETY: makes a kernel's object; no memory of ours is involved.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, wanted.bytes(), flags) };
    if id < 0 {
        return Err(io::Error::last_os_error()).context("make a segment in huge pages");
    }
    // SAFETY: attached where the kernel likes, where nothing is.
    let memory = unsafe { libc::shmat(id, ptr::null(), 0) };
    // SAFETY: it goes with its last user, who is us.
    unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
    if memory.addr() == usize::MAX {
        return Err(io::Error::last_os_error()).context("attach a segment in huge pages");
    }
    write(wanted, memory.cast());
    Ok(())
}

fn mapped(wanted: Wanted, flags: i32, fd: i32) -> io::Result<*mut u8> {
    let flags = match wanted.unreserved {
        true => flags | libc::MAP_NORESERVE,
        false => flags,
    };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: mapped where the kernel likes, where nothing is.
    let memory = unsafe { libc::mmap(ptr::null_mut(), wanted.bytes(), access, flags, fd, 0) };
    match memory == libc::MAP_FAILED {
        true => Err(io::Error::last_os_error()),
        false => Ok(memory.cast()),
    }
}

/// The text `page` at the beginning of each page.
fn write(wanted: Wanted, memory: *mut u8) {
    for number in 0..wanted.count {
        let page = memory.wrapping_add(number * wanted.page());
        // SAFETY: within what was mapped for us, to be written to, and never unmapped.
        unsafe { ptr::copy_nonoverlapping(b"page".as_ptr(), page, 4) };
    }
}
