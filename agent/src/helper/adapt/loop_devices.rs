//! Disks in files. The guest's kernel begins without any, and makes one when it is
//! asked to by way of `/dev/loop-control`. Not every program asks (busybox's `losetup`
//! does not), and the `/dev` of a container does not show one that comes later. So
//! who may use them finds as many as a host has from the start.
#![allow(unsafe_code, reason = "loop devices are made by ioctl(2)")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

pub(super) const CONTROL: &str = "/dev/loop-control";

const COUNT: u8 = 8;
const MAJOR: i64 = 7;

/// `linux/loop.h`.
const LOOP_CTL_ADD: libc::Ioctl = 0x4C80;

/// Has the kernel make those that it has not made. Without them a container can do all
/// the rest, so that one which cannot be made is no error.
pub(super) fn make() {
    let Ok(control) = File::options().read(true).write(true).open(CONTROL) else {
        return;
    };
    for number in 0..COUNT {
        // SAFETY: the request's argument is a number.
        unsafe {
            libc::ioctl(
                control.as_raw_fd(),
                LOOP_CTL_ADD,
                libc::c_long::from(number),
            )
        };
    }
}

/// As a container's specification names them.
pub(super) fn all() -> Vec<LinuxDevice> {
    match Path::new(CONTROL).exists() {
        true => (0..COUNT).map(device).collect(),
        false => Vec::new(),
    }
}

fn device(number: u8) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(format!("/dev/loop{number}").into())
        .set_typ(LinuxDeviceType::B)
        .set_major(MAJOR)
        .set_minor(number.into())
        // As udev has it.
        .set_file_mode(Some(0o660));
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_numbered_as_they_are_called() {
        let third = device(3);
        assert_eq!(third.path(), Path::new("/dev/loop3"));
        assert_eq!((third.major(), third.minor()), (7, 3));
    }
}
