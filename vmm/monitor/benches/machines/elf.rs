//! A few instructions as an image that each VMM takes, for tests too: entered in
//! 64-bit mode by its ELF header (Linux boot protocol, "64-bit boot protocol") or
//! in 32-bit mode by its PVH note (Xen, `xen/include/public/arch-x86/hvm/start_info.h`).

/// Where it is loaded and starts.
pub(crate) const START: u64 = 0x10_0000;

const HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;

/// Loadable; notes (ELF-64 Object File Format 1.5, table 16).
const LOAD: u32 = 1;
const NOTE: u32 = 4;

/// `XEN_ELFNOTE_PHYS32_ENTRY` (Xen, `public/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;

/// An executable of one segment that holds `program`, and the note.
pub(crate) fn image(program: &[u8]) -> Vec<u8> {
    let note = note();
    let at = u64::from(HEADER) + 2 * u64::from(PROGRAM_HEADER);
    let after = at + program.len() as u64;
    let mut bytes = header();
    bytes.extend(segment(LOAD, at, START, program.len() as u64));
    bytes.extend(segment(NOTE, after, 0, note.len() as u64));
    bytes.extend(program);
    bytes.extend(note);
    bytes
}

fn header() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    // Executable, x86-64, version 1.
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend(START.to_le_bytes());
    // Program headers follow; there are no sections.
    bytes.extend(u64::from(HEADER).to_le_bytes());
    bytes.extend([0; 12]);
    for field in [HEADER, PROGRAM_HEADER, 2, 64, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes
}

fn segment(kind: u32, offset: u64, address: u64, length: u64) -> Vec<u8> {
    const READABLE_EXECUTABLE: u32 = 5;
    let mut bytes = [kind, READABLE_EXECUTABLE].map(u32::to_le_bytes).concat();
    for field in [offset, address, address, length, length, 4] {
        bytes.extend(field.to_le_bytes());
    }
    bytes
}

/// One note (System V ABI, "Note Section"): name, then the entry's address.
fn note() -> Vec<u8> {
    let name = *b"Xen\0";
    let mut bytes = [4, 8, PHYS32_ENTRY].map(u32::to_le_bytes).concat();
    bytes.extend(name);
    bytes.extend(START.to_le_bytes());
    bytes
}
