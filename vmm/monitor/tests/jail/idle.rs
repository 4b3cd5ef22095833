//! The least kernel: it halts, and again after each interrupt.

use std::fs::File;
use std::io::{self, Seek, Write};

/// `hlt; jmp .-1`
const CODE: [u8; 3] = [0xf4, 0xeb, 0xfd];

/// Physical address of the code: behind everything that a PC has in its first
/// megabyte.
const ADDRESS: u64 = 1 << 20;

/// Where the code is in the file: behind the headers, at a page.
const OFFSET: u64 = 4096;

/// It as an open file.
pub(crate) fn kernel() -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&file_header())?;
    file.write_all(&program_header())?;
    file.seek(io::SeekFrom::Start(OFFSET))?;
    file.write_all(&CODE)?;
    file.rewind()?;
    Ok(file)
}

/// `Elf64_Ehdr` (System V ABI, "ELF Header"): an executable for x86-64 with
/// one program header behind this one.
fn file_header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    for half in [2_u16, 62] {
        header.extend(half.to_le_bytes());
    }
    header.extend(1_u32.to_le_bytes());
    for word in [ADDRESS, 64, 0] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    header
}

/// `Elf64_Phdr` of the code.
fn program_header() -> Vec<u8> {
    const LOAD: u32 = 1;
    const READ_AND_EXECUTE: u32 = 5;
    let length = CODE.len() as u64;
    let mut header = Vec::new();
    for word in [LOAD, READ_AND_EXECUTE] {
        header.extend(word.to_le_bytes());
    }
    for word in [OFFSET, ADDRESS, ADDRESS, length, length, 4096] {
        header.extend(word.to_le_bytes());
    }
    header
}
