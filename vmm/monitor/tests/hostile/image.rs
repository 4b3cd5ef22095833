//! The guest as a kernel: interpreter, page tables and script, one behind the
//! other.

use crate::elf::{self, START};
use crate::program;
use crate::script::Script;

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
    elf::image(&content)
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
