//! Taps: the host's end of a guest's network interface.

#![allow(unsafe_code)] // TUNSETIFF has no safe wrapper.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::{self, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR};

use super::NetworkError;

nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF` of `linux/if_tun.h`.
    tun_set_iff,
    libc::TUNSETIFF,
    libc::ifreq
);

/// A tap in the network namespace of the thread that opened it. It is gone
/// when its last descriptor is closed.
pub(super) struct Tap {
    pub(super) fd: OwnedFd,
    pub(super) name: String,
}

/// Makes the tap of the pod's interface number `index`. Its packets carry the
/// virtio-net header, so that checksums and segmentation stay with the guest.
pub(super) fn open(index: usize) -> Result<Tap, NetworkError> {
    let name = format!("tap-kata{index}");
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(NetworkError::Tun)?;
    let request = request(&name);
    // SAFETY: the request is a valid ifreq that outlives the call, and the
    // descriptor is /dev/net/tun's.
    unsafe { tun_set_iff(tun.as_raw_fd(), &raw const request) }.map_err(|source| {
        NetworkError::Tap {
            name: name.clone(),
            source,
        }
    })?;
    Ok(Tap {
        fd: tun.into(),
        name,
    })
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain old data; all zeroes is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0: the name is a C string.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or_default();
    request
}
