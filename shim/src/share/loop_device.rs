//! A file as a block device, for snapshotters whose layers are file systems in
//! files (the option `loop` of mount(8); loop(4)).

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::mount::number;

/// The least number that no file has. Linux, `include/uapi/linux/loop.h`.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
/// Gives a device its file and its properties at once (Linux 5.8).
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const READ_ONLY: u32 = 1;
/// The device goes with its last user: here, the mount.
const AUTOCLEAR: u32 = 4;

/// How often somebody else may take a device before us.
const TRIES: u32 = 64;

/// `struct loop_config`, with `struct loop_info64` in it.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [[u8; 64]; 2],
    key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Config>() == 304);

/// A device that is a file. To be kept until it is mounted.
pub(super) struct LoopDevice {
    pub(super) path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Makes `file` a device.
    pub(super) fn attach(file: &Path, read_only: bool) -> nix::Result<Self> {
        let backing = open(file, read_only)?;
        let control = open(Path::new("/dev/loop-control"), false)?;
        for _ in 0..TRIES {
            let number = free(&control)?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path, read_only)?;
            match configure(&device, &backing, read_only) {
                Err(Errno::EBUSY) => {}
                result => {
                    return result.map(|()| Self {
                        path,
                        _open: device,
                    });
                }
            }
        }
        Err(Errno::EBUSY)
    }
}

fn open(path: &Path, read_only: bool) -> nix::Result<File> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(!read_only).open(path);
    opened.map_err(number)
}

#[allow(unsafe_code, reason = "loop devices are made by ioctl(2)")]
fn free(control: &File) -> nix::Result<i32> {
    // SAFETY: this request takes no argument.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

#[allow(unsafe_code, reason = "loop devices are made by ioctl(2)")]
fn configure(device: &File, backing: &File, read_only: bool) -> nix::Result<()> {
    let config = Config {
        fd: backing.as_raw_fd().cast_unsigned(),
        block_size: 0,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encryption: [0; 2],
        flags: AUTOCLEAR | if read_only { READ_ONLY } else { 0 },
        names: [[0; 64]; 2],
        key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a `struct loop_config`, which `config` is, and
    // keeps nothing of it but the file.
    let answer = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_CONFIGURE,
            std::ptr::from_ref(&config),
        )
    };
    Errno::result(answer).map(drop)
}
