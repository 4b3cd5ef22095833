//! A guest of a few instructions, which needs no hardware behind KVM: writes a
//! line to the serial port and ends with a status.

use std::fs::File;
use std::path::Path;

use crate::elf;

/// What it writes.
pub(crate) const LINE: &str = "x\n";
/// How it ends.
pub(crate) const STATUS: u8 = 42;

#[rustfmt::skip]
const PROGRAM: [u8; 18] = [
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'x',             // mov al, 'x'
    0xee,                   // out dx, al
    0xb0, b'\n',            // mov al, '\n'
    0xee,                   // out dx, al
    0x66, 0xba, 0x04, 0x06, // mov dx, 0x604
    0xb0, STATUS,           // mov al, 42
    0xee,                   // out dx, al
    0xf4,                   // hlt
];

/// Writes it as a kernel, with an empty initramfs beside it.
pub(crate) fn write(folder: &Path) -> anyhow::Result<(File, File)> {
    let [kernel, initramfs] = ["tiny", "empty"].map(|name| folder.join(name));
    std::fs::write(&kernel, elf::image(&PROGRAM))?;
    std::fs::write(&initramfs, b"")?;
    Ok((File::open(kernel)?, File::open(initramfs)?))
}
