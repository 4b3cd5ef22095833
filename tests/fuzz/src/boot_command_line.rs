//! The kernel's command line (Documentation/arch/x86/boot.rst, "The kernel
//! command line"), from an operator's parameters.

use std::fs::File;

use arbitrary::Unstructured;
use monitor::boot::{self, CommandLine, Cpus, Images};
use monitor::memory::{layout, ram};
use nix::sys::memfd::{MFdFlags, memfd_create};
use vm_memory::{Bytes, GuestMemoryMmap};

use crate::machine::MEMORY_MIB;

/// Bytes of the kernel's buffer.
const ROOM: usize = 2048;

/// Makes a command line of `data`, and looks at what the kernel finds.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok((online, tsc_khz, memory_grows)) = bytes.arbitrary() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes.take_rest());
    let line = CommandLine::of_machine(online, tsc_khz, memory_grows, &text);
    if let Ok(plain) = CommandLine::new(&text) {
        assert!(text.len() < ROOM && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        assert_eq!(plain.length() as usize, text.len());
    }
    if let Ok(line) = line {
        let found = in_memory(&line);
        assert_eq!(found.len(), line.length() as usize);
        assert!(found.len() < ROOM);
        assert!(found.ends_with(&*text), "the operator has the last word");
        assert!(found.contains(&format!(" maxcpus={online} ")));
    }
}

/// The command line that a kernel reads.
fn in_memory(line: &CommandLine) -> String {
    let memory = ram::allocate(MEMORY_MIB).unwrap();
    let file = || File::from(memfd_create(c"image", MFdFlags::MFD_CLOEXEC).unwrap());
    let kernel = file();
    let mut images = Images {
        kernel,
        initramfs: file(),
    };
    write_kernel(&mut images.kernel);
    boot::load(&memory, &mut images, line, Cpus { possible: 1 }).unwrap();
    read(&memory)
}

fn read(memory: &GuestMemoryMmap) -> String {
    let mut bytes = [0; ROOM + 1];
    memory.read_slice(&mut bytes, layout::COMMAND_LINE).unwrap();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

/// The least that is a kernel: one segment of one byte.
fn write_kernel(file: &mut File) {
    use std::io::{Seek, Write};
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for field in [layout::KERNEL_START, 64, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let start = layout::KERNEL_START;
    for field in [120, start, start, 1, 1, 4096] {
        bytes.extend(u64::to_le_bytes(field));
    }
    bytes.push(0xf4);
    file.write_all(&bytes).unwrap();
    file.rewind().unwrap();
}
