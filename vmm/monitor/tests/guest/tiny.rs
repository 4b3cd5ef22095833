//! A guest of a few instructions, which needs no hardware behind KVM: writes a
//! line to the serial port and ends with a status.

use std::fs::File;
use std::path::Path;

/// Where it is loaded and starts.
const START: u64 = 0x10_0000;
const HEADERS: u64 = 64 + 56;

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
    std::fs::write(&kernel, elf())?;
    std::fs::write(&initramfs, b"")?;
    Ok((File::open(kernel)?, File::open(initramfs)?))
}

/// An executable of one segment (ELF-64 Object File Format 1.5).
fn elf() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    // Executable, x86-64, version 1.
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend(START.to_le_bytes());
    // Program headers, no section headers.
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    // Flags; header size, program header size and count; sections.
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // Loadable, readable and executable.
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let length = PROGRAM.len() as u64;
    for field in [HEADERS, START, START, length, length, 4096] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(PROGRAM);
    bytes
}
