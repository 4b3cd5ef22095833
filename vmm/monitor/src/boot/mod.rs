//! What the first processor finds when it starts: a kernel at its 64-bit
//! entry, as Linux's boot protocol wants it
//! (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
//!
//! No firmware runs. What firmware would tell a kernel is in the zero page
//! (memory map, command line, initramfs) and in the multiprocessor tables
//! (processors, interrupt lines); there is no ACPI
//! (docs/decisions/0014-mp-table-not-acpi.md).

mod command_line;
mod e820;
mod image;
mod mp_table;
mod start_tables;
mod touched;
mod zero_page;

pub use command_line::{CommandLine, CommandLineError};
pub use image::ImageError;
pub use mp_table::MOST_CPUS;
pub use start_tables::{BOOT_SEGMENTS, Segment};

use std::fs::File;

use vm_memory::{GuestMemoryError, GuestMemoryMmap};

/// A guest that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Kernel or initramfs.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Something that firmware would have left there.
    #[error("write the {what} to guest memory")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: GuestMemoryError,
    },
}

/// What to start.
#[derive(Debug)]
pub struct Images {
    /// Uncompressed ELF kernel.
    pub kernel: File,
    /// cpio archive, uncompressed.
    pub initramfs: File,
}

/// Puts everything in its place. Returns the physical address of the kernel's
/// first instruction.
///
/// # Errors
/// See [`BootError`].
pub fn load(
    memory: &GuestMemoryMmap,
    images: &mut Images,
    command_line: &CommandLine,
    cpus: Cpus,
) -> Result<u64, BootError> {
    touched::populate(memory, images);
    let kernel = image::load_kernel(memory, &mut images.kernel)?;
    let initramfs = image::load_initramfs(memory, &mut images.initramfs, kernel.end)?;
    let written = |what| move |source| BootError::Write { what, source };
    command_line
        .write(memory)
        .map_err(written("command line"))?;
    zero_page::write(memory, command_line, initramfs).map_err(written("zero page"))?;
    mp_table::write(memory, cpus).map_err(written("multiprocessor tables"))?;
    start_tables::write(memory).map_err(written("page tables"))?;
    Ok(kernel.entry)
}

/// How many processors the kernel is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// Those that it can ever have; at most [`MOST_CPUS`].
    pub possible: u8,
}
