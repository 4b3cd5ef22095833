//! Memory that every boot touches. It gets huge pages before anything is in it,
//! also on hosts that give shared memory none by themselves: one step of the
//! host's kernel instead of 512, for each of which the processor would leave the
//! guest.

use std::fs::File;
use std::os::unix::fs::FileExt;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::Images;
use crate::memory::ram;

/// Of all memory, the part that Linux needs to keep account of it: a `struct
/// page` of 64 bytes for each page.
const ACCOUNT: u64 = 4096 / 64;
/// What else a kernel takes from the end of its memory while it boots: hash
/// tables, areas per processor.
const BESIDES: u64 = 8 << 20;

pub(super) fn populate(memory: &GuestMemoryMmap, images: &Images) {
    // What is in front of the kernel is what it gives out first when it is up:
    // the unpacked initramfs goes there.
    let end = segments(&images.kernel)
        .into_iter()
        .map(|(_, end)| end)
        .max();
    ram::populate(memory, GuestAddress(0), GuestAddress(end.unwrap_or(0)));
    let Some(low) = memory.iter().next().map(GuestMemoryRegion::len) else {
        return;
    };
    let all: u64 = memory.iter().map(GuestMemoryRegion::len).sum();
    let initramfs = images.initramfs.metadata().map_or(0, |file| file.len());
    let start = low.saturating_sub(initramfs + all / ACCOUNT + BESIDES);
    ram::populate(memory, GuestAddress(start), GuestAddress(low));
}

/// Physical start and end of what an ELF file loads (ELF-64 Object File Format
/// 1.5, tables 3 and 15). A file that is none is refused when it is loaded.
fn segments(file: &File) -> Vec<(u64, u64)> {
    const LOAD: u32 = 1;
    // Linux has five.
    const MOST: usize = 8;
    let Some(table) = read::<8>(file, 32).map(u64::from_le_bytes) else {
        return Vec::new();
    };
    let count = read::<2>(file, 56).map_or(0, u16::from_le_bytes);
    let places = (0..u64::from(count)).map(|index| table.saturating_add(index * 56));
    places
        .take(MOST)
        .filter(|at| read(file, *at).map(u32::from_le_bytes) == Some(LOAD))
        .filter_map(|at| {
            let start = u64::from_le_bytes(read(file, at.saturating_add(24))?);
            let length = u64::from_le_bytes(read(file, at.saturating_add(40))?);
            Some((start, start.checked_add(length)?))
        })
        .collect()
}

fn read<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn header(count: u16, entries: &[(u32, u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[32] = 64;
        bytes[56..58].copy_from_slice(&count.to_le_bytes());
        for (kind, start, length) in entries {
            let at = bytes.len();
            bytes.resize(at + 56, 0);
            bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            bytes[at + 24..at + 32].copy_from_slice(&start.to_le_bytes());
            bytes[at + 40..at + 48].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_is_loaded_is_known_beforehand() {
        let entries = [(1, 0x100_0000, 0x2000), (4, 0, 9), (1, 0x200_0000, 5)];
        let found = segments(&file(&header(3, &entries)));
        assert_eq!(found, [(0x100_0000, 0x100_2000), (0x200_0000, 0x200_0005)]);
    }

    #[test]
    fn any_file_is_read_within_bounds() {
        let endless = header(u16::MAX, &[(1, u64::MAX, 2); 2]);
        for bytes in [&b""[..], b"\x7fELF", &[0xff; 64], &endless] {
            assert_eq!(segments(&file(bytes)), []);
        }
    }
}
