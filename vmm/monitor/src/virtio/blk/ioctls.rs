//! What a block device of the host's says about itself, and its discard
//! (linux/fs.h, block/ioctl.c).

#![allow(unsafe_code)] // ioctl(2) takes memory by its address.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{c_int, c_uint};

mod request {
    nix::ioctl_read!(size, 0x12, 114, usize);
    nix::ioctl_read_bad!(logical_block, nix::libc::BLKSSZGET, nix::libc::c_int);
    nix::ioctl_read_bad!(physical_block, nix::libc::BLKPBSZGET, nix::libc::c_uint);
    nix::ioctl_read_bad!(least, nix::libc::BLKIOMIN, nix::libc::c_uint);
    nix::ioctl_read_bad!(best, nix::libc::BLKIOOPT, nix::libc::c_uint);
    nix::ioctl_read_bad!(
        misalignment,
        nix::request_code_none!(0x12, 122),
        nix::libc::c_int
    );
    nix::ioctl_read_bad!(
        read_only,
        nix::request_code_none!(0x12, 94),
        nix::libc::c_int
    );
    nix::ioctl_write_ptr_bad!(discard, nix::request_code_none!(0x12, 119), [u64; 2]);
}

/// Bytes.
pub(super) fn size(device: &File) -> Result<u64, Errno> {
    let mut bytes = 0_u64;
    // SAFETY: despite its type, which is from before there were large devices,
    // the kernel writes 64 bits; that is what there is room for.
    unsafe { request::size(device.as_raw_fd(), (&raw mut bytes).cast()) }?;
    Ok(bytes)
}

/// Bytes of the smallest unit that can be addressed.
pub(super) fn logical_block(device: &File) -> Result<u32, Errno> {
    signed(device, request::logical_block)
}

/// Bytes of the smallest unit that can be written without reading.
pub(super) fn physical_block(device: &File) -> Result<u32, Errno> {
    unsigned(device, request::physical_block)
}

/// Bytes that a transfer should have at least.
pub(super) fn least(device: &File) -> Result<u32, Errno> {
    unsigned(device, request::least)
}

/// Bytes that a transfer should have at best; 0 if it does not matter.
pub(super) fn best(device: &File) -> Result<u32, Errno> {
    unsigned(device, request::best)
}

/// Bytes from the start to the first physical block.
pub(super) fn misalignment(device: &File) -> Result<u32, Errno> {
    signed(device, request::misalignment)
}

/// Nobody can write to it.
pub(super) fn is_read_only(device: &File) -> Result<bool, Errno> {
    Ok(signed(device, request::read_only)? != 0)
}

/// Gives `length` bytes at `offset` back to whatever the device is made of.
pub(super) fn discard(device: &File, offset: u64, length: u64) -> Result<(), Errno> {
    let range = [offset, length];
    // SAFETY: the kernel reads the two numbers, during the call.
    unsafe { request::discard(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Whether [`discard`] does anything. The kernel looks at that before it looks
/// at the range, which here is none that it would accept.
pub(super) fn discards(device: &File) -> bool {
    discard(device, 1, 1) != Err(Errno::EOPNOTSUPP)
}

type Reads<T> = unsafe fn(c_int, *mut T) -> nix::Result<c_int>;

fn signed(device: &File, read: Reads<c_int>) -> Result<u32, Errno> {
    let mut value = 0;
    // SAFETY: the kernel writes one number of that type.
    unsafe { read(device.as_raw_fd(), &raw mut value) }?;
    u32::try_from(value).map_err(|_| Errno::ERANGE)
}

fn unsigned(device: &File, read: Reads<c_uint>) -> Result<u32, Errno> {
    let mut value = 0;
    // SAFETY: the kernel writes one number of that type.
    unsafe { read(device.as_raw_fd(), &raw mut value) }?;
    Ok(value)
}
