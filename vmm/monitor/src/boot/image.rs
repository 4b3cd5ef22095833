//! The kernel and its initramfs, from their files into guest memory.

use std::fs::File;
use std::io;

use linux_loader::loader::{self, Elf, KernelLoader};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

use crate::memory::layout::KERNEL_START;

const PAGE: u64 = 4096;

/// An image that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not a kernel, or too large.
    #[error("load the guest kernel")]
    Kernel(#[source] loader::Error),
    /// Its entry is not in it: whatever it is, it is no kernel.
    #[error("load the guest kernel: its entry {entry:#x} is outside of its {start:#x}..{end:#x}")]
    Entry {
        /// Address of the first instruction.
        entry: u64,
        /// First address that was loaded.
        start: u64,
        /// Address behind the last one.
        end: u64,
    },
    /// The file's size is not to be had.
    #[error("look at the guest initramfs")]
    InitramfsSize(#[source] io::Error),
    /// It does not fit.
    #[error(
        "load the guest initramfs of {bytes} bytes: there is room for {room} behind the kernel; \
         give the guest more memory"
    )]
    InitramfsRoom {
        /// Its size.
        bytes: u64,
        /// What is free.
        room: u64,
    },
    /// It cannot be read.
    #[error("load the guest initramfs of {bytes} bytes")]
    Initramfs {
        /// Its size.
        bytes: u64,
        /// Why.
        #[source]
        source: GuestMemoryError,
    },
}

/// A loaded kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Physical address of its 64-bit entry.
    pub(super) entry: u64,
    /// Physical address behind its last byte, with what it zeroes.
    pub(super) end: u64,
}

pub(super) fn load_kernel(memory: &GuestMemoryMmap, file: &mut File) -> Result<Kernel, ImageError> {
    let least = Some(GuestAddress(KERNEL_START));
    let loaded = Elf::load(memory, None, file, least).map_err(ImageError::Kernel)?;
    let (entry, start, end) = (loaded.kernel_load.0, KERNEL_START, loaded.kernel_end);
    match (start..end).contains(&entry) {
        true => Ok(Kernel { entry, end }),
        false => Err(ImageError::Entry { entry, start, end }),
    }
}

/// Where the initramfs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initramfs {
    pub(super) start: u64,
    pub(super) length: u64,
}

/// As high in low memory as it can be: out of the way of what the kernel does
/// to the memory behind itself before it knows of the initramfs.
pub(super) fn load_initramfs(
    memory: &GuestMemoryMmap,
    file: &mut File,
    kernel_end: u64,
) -> Result<Initramfs, ImageError> {
    let bytes = file.metadata().map_err(ImageError::InitramfsSize)?.len();
    let low_end = memory.iter().next().map_or(0, GuestMemoryRegion::len);
    let room = low_end.saturating_sub(kernel_end);
    let start = low_end
        .checked_sub(bytes)
        .map(|start| start / PAGE * PAGE)
        .filter(|start| *start >= kernel_end)
        .ok_or(ImageError::InitramfsRoom { bytes, room })?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    memory
        .read_exact_volatile_from(GuestAddress(start), file, length)
        .map_err(|source| ImageError::Initramfs { bytes, source })?;
    Ok(Initramfs {
        start,
        length: bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;
    use std::io::{Seek, Write};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn the_initramfs_ends_where_low_memory_does() {
        let memory = ram::allocate(64).unwrap();
        let archive = [0x5a; 5000];
        let placed = load_initramfs(&memory, &mut file(&archive), 32 << 20).unwrap();
        assert_eq!(placed.start, (64 << 20) - 8192);
        assert_eq!(placed.length, 5000);
        let mut copy = [0; 5000];
        let start = GuestAddress(placed.start);
        memory.read_slice(&mut copy, start).unwrap();
        assert_eq!(copy, archive);
    }

    #[test]
    fn an_initramfs_that_would_overwrite_the_kernel_is_refused() {
        let memory = ram::allocate(64).unwrap();
        for kernel_end in [(64 << 20) - 4096, 65 << 20] {
            let loaded = load_initramfs(&memory, &mut file(&[0; 5000]), kernel_end);
            assert!(matches!(loaded, Err(ImageError::InitramfsRoom { .. })));
        }
    }

    #[test]
    fn other_files_are_no_kernels() {
        let memory = ram::allocate(64).unwrap();
        for bytes in [&b""[..], b"MZ", b"\x7fELF\x02\x01\x01", &[0; 4096]] {
            assert!(matches!(
                load_kernel(&memory, &mut file(bytes)),
                Err(ImageError::Kernel(_))
            ));
        }
    }
}
