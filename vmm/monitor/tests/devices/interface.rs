//! Network interfaces by ioctls (netdevice(7)), which is all that a guest
//! without any user space has at hand.

#![allow(unsafe_code)] // Those have no safe wrappers.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc::{
    self, AF_INET, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_UP, IFF_VNET_HDR, SIOCSIFADDR,
    SIOCSIFFLAGS, ifreq,
};

nix::ioctl_write_ptr_bad!(set_flags, SIOCSIFFLAGS, ifreq);
nix::ioctl_write_ptr_bad!(set_address, SIOCSIFADDR, ifreq);
nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, ifreq);

fn request(name: &str) -> ifreq {
    // SAFETY: all of it is integers and arrays of them.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// Gives an interface an address, with its class's mask, and switches it on.
pub(crate) fn configure(name: &str, address: Ipv4Addr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut with_address = request(name);
    let [a, b, c, d] = address.octets().map(u8::cast_signed);
    with_address.ifr_ifru.ifru_addr.sa_family = u16::try_from(AF_INET)?;
    // A port, the address.
    with_address.ifr_ifru.ifru_addr.sa_data = [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: the request has a name and an address, and outlives the call.
    unsafe { set_address(socket.as_raw_fd(), &raw const with_address) }?;
    let mut with_flags = request(name);
    with_flags.ifr_ifru.ifru_flags = i16::try_from(IFF_UP)?;
    // SAFETY: the request has a name and flags, and outlives the call.
    unsafe { set_flags(socket.as_raw_fd(), &raw const with_flags) }?;
    Ok(())
}

/// A tap as the shim makes it.
pub(crate) fn tap(name: &str) -> anyhow::Result<OwnedFd> {
    queue(name, 0)
}

/// `count` queues of a tap.
pub(crate) fn taps(name: &str, count: u16) -> anyhow::Result<Vec<OwnedFd>> {
    match count {
        1 => Ok(vec![tap(name)?]),
        _ => (0..count).map(|_| queue(name, IFF_MULTI_QUEUE)).collect(),
    }
}

fn queue(name: &str, more: libc::c_int) -> anyhow::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let tun = options.read(true).write(true).open("/dev/net/tun")?;
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = i16::try_from(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more)?;
    // SAFETY: the request has a name and flags, and outlives the call.
    unsafe { tun_set_iff(tun.as_raw_fd(), &raw const request) }?;
    Ok(tun.into())
}
