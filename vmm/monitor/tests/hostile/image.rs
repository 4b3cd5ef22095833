//! The guest as a kernel: interpreter, page tables and script in one segment of
//! an executable (ELF-64 Object File Format 1.5).

use crate::program;
use crate::script::Script;

/// Where the interpreter is loaded and starts.
const START: u64 = 0x10_0000;
/// Its page tables (Intel SDM vol. 3A, section 4.5), replacing those of the
/// boot, which map less.
pub(crate) const TABLES: u64 = 0x20_0000;
/// The end of its stack.
pub(crate) const STACK: u64 = 0x28_0000;
/// Its script.
pub(crate) const SCRIPT: u64 = 0x30_0000;

/// The GiB that it has addresses for: all RAM, all devices, and such as are
/// neither; 6 is where memory comes later.
const MAPPED: [u64; 7] = [0, 1, 2, 3, 4, 6, 64];

const HEADERS: u64 = 64 + 56;
const PAGE: u64 = 4096;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;

/// The file.
pub(crate) fn elf(script: &Script) -> Vec<u8> {
    let mut content = program::instructions().to_vec();
    content.resize(usize::try_from(TABLES - START).unwrap_or(0), 0);
    content.extend(tables());
    content.resize(usize::try_from(SCRIPT - START).unwrap_or(0), 0);
    content.extend(script.bytes());
    let length = content.len() as u64;

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
    // Loadable; readable, writable and executable.
    bytes.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for field in [HEADERS, START, START, length, length, PAGE] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(content);
    bytes
}

/// Every address is itself, by pages of 2 MiB.
fn tables() -> Vec<u8> {
    let directories = TABLES + 2 * PAGE;
    let mut top = vec![0; 512];
    top[0] = (TABLES + PAGE) | PRESENT_WRITABLE;
    let mut pointers = vec![0; 512];
    let mut pages = Vec::new();
    for (index, gib) in (0_u64..).zip(MAPPED) {
        if let Some(pointer) = usize::try_from(gib)
            .ok()
            .and_then(|at| pointers.get_mut(at))
        {
            *pointer = (directories + index * PAGE) | PRESENT_WRITABLE;
        }
        pages.extend((0..512).map(|page| gib << 30 | page << 21 | PRESENT_WRITABLE | LARGE));
    }
    let all = top.into_iter().chain(pointers).chain(pages);
    all.flat_map(u64::to_le_bytes).collect()
}
