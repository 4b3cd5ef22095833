#![allow(unsafe_code)] // An interface is switched on by an ioctl.

//! `lo`, which every host has on.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::libc::{IFF_RUNNING, IFF_UP, SIOCSIFFLAGS, ifreq};

nix::ioctl_write_ptr_bad!(set_flags, SIOCSIFFLAGS, ifreq);

pub(super) fn up() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all of it is integers and arrays of them.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(IFF_UP | IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: the request is an ifreq with a name and flags, as SIOCSIFFLAGS
    // takes it (netdevice(7)), and lives until the call returns.
    unsafe { set_flags(socket.as_raw_fd(), &raw const request) }?;
    Ok(())
}
