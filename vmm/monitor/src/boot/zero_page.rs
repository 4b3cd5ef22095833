//! `struct boot_params`, the "zero page"
//! (Documentation/arch/x86/zero-page.rst and boot.rst).

use linux_loader::bootparam::{boot_params, setup_header};
use vm_memory::{ByteValued, Bytes, GuestMemoryError, GuestMemoryMmap};

use super::command_line::CommandLine;
use super::e820;
use super::image::Initramfs;
use crate::memory::layout::{COMMAND_LINE, ZERO_PAGE};

/// "HdrS".
const MAGIC: u32 = 0x5372_6448;
/// A boot loader without an assigned number.
const LOADER: u8 = 0xff;
/// LOADED_HIGH: the kernel is at 1 MiB or above.
const LOADED_HIGH: u8 = 1;

/// Byte for byte what the kernel reads.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct ZeroPage(boot_params);

#[allow(unsafe_code)] // ByteValued is a promise about the type's bytes.
// SAFETY: `boot_params` is a packed C structure of integers and arrays of such:
// it has no padding, and any bytes make a valid value.
unsafe impl ByteValued for ZeroPage {}

pub(super) fn write(
    memory: &GuestMemoryMmap,
    command_line: &CommandLine,
    initramfs: Initramfs,
) -> Result<(), GuestMemoryError> {
    let mut page = ZeroPage::default();
    page.0.hdr = header(command_line, initramfs);
    page.0.ext_ramdisk_image = high(initramfs.start);
    page.0.ext_ramdisk_size = high(initramfs.length);
    let map = e820::entries(memory);
    let mut count = 0;
    for (slot, entry) in page.0.e820_table.iter_mut().zip(map) {
        *slot = entry;
        count += 1;
    }
    page.0.e820_entries = count;
    memory.write_obj(page, ZERO_PAGE)
}

fn header(command_line: &CommandLine, initramfs: Initramfs) -> setup_header {
    setup_header {
        boot_flag: 0xaa55,
        header: MAGIC,
        type_of_loader: LOADER,
        loadflags: LOADED_HIGH,
        ramdisk_image: low(initramfs.start),
        ramdisk_size: low(initramfs.length),
        cmd_line_ptr: low(COMMAND_LINE.0),
        cmdline_size: command_line.length(),
        ..setup_header::default()
    }
}

#[allow(clippy::cast_possible_truncation)] // That is what it is for.
fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ram;
    use vm_memory::GuestAddress;

    fn at<T: ByteValued>(memory: &GuestMemoryMmap, offset: u64) -> T {
        memory.read_obj(GuestAddress(ZERO_PAGE.0 + offset)).unwrap()
    }

    /// Offsets are those of Documentation/arch/x86/zero-page.rst.
    #[test]
    fn fields_are_where_the_kernel_looks_for_them() {
        let memory = ram::allocate(64).unwrap();
        let command_line = CommandLine::new("quiet").unwrap();
        let initramfs = Initramfs {
            start: 0x1_2345_6000,
            length: 0x789,
        };
        write(&memory, &command_line, initramfs).unwrap();
        assert_eq!(at::<u16>(&memory, 0x1fe), 0xaa55);
        assert_eq!(at::<u32>(&memory, 0x202), MAGIC);
        assert_eq!(at::<u8>(&memory, 0x210), 0xff);
        assert_eq!(at::<u32>(&memory, 0x218), 0x2345_6000);
        assert_eq!(at::<u32>(&memory, 0x0c0), 1);
        assert_eq!(at::<u32>(&memory, 0x21c), 0x789);
        assert_eq!(at::<u32>(&memory, 0x228), 0x2_0000);
        assert_eq!(at::<u8>(&memory, 0x1e8), 3);
        assert_eq!(at::<u64>(&memory, 0x2d0 + 8), 0xa_0000);
        assert_eq!(at::<u32>(&memory, 0x2d0 + 20 + 16), 2);
    }
}
