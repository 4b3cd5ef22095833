//! The shortest guest there is: writes a line and halts. Measures what a VMM
//! itself takes, from its exec to the guest's first byte.

use std::path::{Path, PathBuf};

use crate::elf;

/// What it writes.
pub(crate) const LINE: &[u8] = b"x\n";

/// The same in 64-bit mode and in 32-bit mode.
#[rustfmt::skip]
const PROGRAM: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'x',             // mov al, 'x'
    0xee,                   // out dx, al
    0xb0, b'\n',            // mov al, '\n'
    0xee,                   // out dx, al
    0xf4,                   // hlt
];

/// Writes it into `folder`; the initramfs is a few bytes that it never reads.
pub(crate) fn write(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let [kernel, initramfs] = ["tiny", "few-bytes"].map(|name| folder.join(name));
    std::fs::write(&kernel, elf::image(PROGRAM))?;
    std::fs::write(&initramfs, [0; 4096])?;
    Ok((kernel, initramfs))
}
