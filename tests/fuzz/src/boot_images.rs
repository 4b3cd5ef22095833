//! Kernel and initramfs from their files (ELF-64 Object File Format 1.5;
//! Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").

use std::fs::File;
use std::io::{Seek, Write};

use arbitrary::{Arbitrary, Unstructured};
use monitor::boot::{self, CommandLine, Cpus, Images};
use monitor::memory::{layout, ram};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::machine::{MEMORY, MEMORY_MIB};

#[derive(Arbitrary, Debug)]
struct Segment {
    kind: u8,
    offset: u16,
    address: Address,
    file_size: u16,
    memory_size: u32,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Address {
    Kernel(u32),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
struct Shape {
    /// The file is what is left, and nothing is made for it.
    raw: bool,
    entry: Address,
    table: Option<u64>,
    count: Option<u16>,
    entry_size: Option<u16>,
    segments: Vec<Segment>,
    possible: u8,
    initramfs: Size,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Small(u16),
    Large(u32),
}

/// Boots, but for the processor, what `data` describes.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(shape) = bytes.arbitrary::<Shape>() else {
        return;
    };
    let rest = bytes.take_rest();
    let kernel = if shape.raw {
        rest.to_vec()
    } else {
        elf(&shape, rest)
    };
    let memory = ram::allocate(MEMORY_MIB).unwrap();
    let initramfs = file(&[]);
    let length = match shape.initramfs {
        Size::Small(bytes) => bytes.into(),
        Size::Large(bytes) => u64::from(bytes),
    };
    // A hole: no memory, however large.
    initramfs.set_len(length).unwrap();
    let mut images = Images {
        kernel: file(&kernel),
        initramfs,
    };
    let line = CommandLine::new("quiet").unwrap();
    let cpus = Cpus {
        possible: shape.possible,
    };
    if let Ok(entry) = boot::load(&memory, &mut images, &line, cpus) {
        assert!((layout::KERNEL_START..MEMORY).contains(&entry));
        assert!(length <= MEMORY);
    }
}

fn elf(shape: &Shape, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend(address(shape.entry).to_le_bytes());
    bytes.extend(shape.table.unwrap_or(64).to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend([0, 0, 0, 0, 64, 0]);
    bytes.extend(shape.entry_size.unwrap_or(56).to_le_bytes());
    let count = u16::try_from(shape.segments.len()).unwrap_or(u16::MAX);
    bytes.extend(shape.count.unwrap_or(count).to_le_bytes());
    bytes.extend([64, 0, 0, 0, 0, 0]);
    for segment in &shape.segments {
        // Loadable, or a note, or anything.
        bytes.extend(u32::from(segment.kind % 8).to_le_bytes());
        bytes.extend(5_u32.to_le_bytes());
        let address = address(segment.address);
        for field in [
            segment.offset.into(),
            address,
            address,
            segment.file_size.into(),
            segment.memory_size.into(),
            4096,
        ] {
            bytes.extend(u64::to_le_bytes(field));
        }
    }
    bytes.extend(content);
    bytes
}

fn address(address: Address) -> u64 {
    match address {
        Address::Kernel(offset) => layout::KERNEL_START + u64::from(offset),
        Address::Any(address) => address,
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"image", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}
