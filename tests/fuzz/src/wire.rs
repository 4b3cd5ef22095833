//! A tap in a network namespace of its own, and its other end.

// Taps and packet sockets have no safe wrappers.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use vmm_api::NetConfig;

nix::ioctl_write_ptr_bad!(
    /// `TUNSETIFF` of `linux/if_tun.h`.
    tun_set_iff,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// `SIOCSIFFLAGS` of `linux/sockios.h`.
    set_flags,
    libc::SIOCSIFFLAGS,
    libc::ifreq
);
nix::ioctl_readwrite_bad!(
    /// `SIOCGIFINDEX` of `linux/sockios.h`.
    get_index,
    libc::SIOCGIFINDEX,
    libc::ifreq
);

const NAME: &[u8] = b"fuzz";
const KIND: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
/// ETH_P_ALL, in the order of the network: nothing is received that is not
/// asked for.
const NO_PROTOCOL: u16 = 0;

/// The interface that a guest has on it.
#[must_use]
pub fn config(pairs: usize) -> NetConfig {
    NetConfig {
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        queue_pairs: u16::try_from(pairs).unwrap(),
        vhost: false,
    }
}

/// The tap and its other end.
pub struct Wire {
    /// One per queue.
    taps: Vec<OwnedFd>,
    other: OwnedFd,
    to: libc::sockaddr_ll,
}

impl Wire {
    /// One of `queues` queues, if there may be any.
    #[must_use]
    pub fn in_namespace(queues: usize) -> Option<Self> {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Err(Errno::EPERM) => {
                eprintln!("not tried: no permission to make a network namespace");
                return None;
            }
            made => made.unwrap(),
        }
        // The kernel's own packets would come between, and never the same way.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        match Self::new(queues) {
            Err(error) => {
                eprintln!("not tried: make a tap: {error}");
                None
            }
            Ok(wire) => Some(wire),
        }
    }

    fn new(queues: usize) -> io::Result<Self> {
        let kind = match queues {
            1 => KIND,
            _ => KIND | libc::IFF_MULTI_QUEUE,
        };
        let taps: io::Result<_> = (0..queues).map(|_| open(kind)).collect();
        let taps = taps?;
        // SAFETY: takes numbers, makes a descriptor.
        let other = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                NO_PROTOCOL.into(),
            )
        };
        // SAFETY: the kernel has just made it, for nobody else.
        let other = unsafe { OwnedFd::from_raw_fd(Errno::result(other)?) };
        Ok(Self {
            to: bring_up(&other)?,
            taps,
            other,
        })
    }

    /// Its queues, for a device.
    #[must_use]
    pub fn taps(&self) -> Vec<OwnedFd> {
        let taps = self.taps.iter();
        taps.map(|tap| tap.try_clone().unwrap()).collect()
    }

    /// Sends a packet to the guest, or what is none.
    pub fn send(&self, packet: &[u8]) {
        // Shorter than a header is refused, longer than the MTU too.
        // SAFETY: pointers and lengths are those of one slice and one address.
        let _ = unsafe {
            libc::sendto(
                self.other.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT,
                (&raw const self.to).cast(),
                socklen::<libc::sockaddr_ll>(),
            )
        };
    }

    /// What is left is not for the next driver.
    pub fn drain(&self) {
        for tap in self.taps() {
            let (mut tap, mut packet) = (File::from(tap), [0; 64]);
            while tap.read(&mut packet).is_ok() {}
        }
    }
}

/// One more queue of the tap, which is made with the first.
fn open(kind: libc::c_int) -> io::Result<OwnedFd> {
    let tap = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let request = request(kind);
    // SAFETY: the request is valid and outlives the call.
    unsafe { tun_set_iff(tap.as_raw_fd(), &raw const request) }?;
    Ok(tap.into())
}

/// The interface goes up. Its address, to send to.
fn bring_up(socket: &OwnedFd) -> io::Result<libc::sockaddr_ll> {
    let mut request = request(libc::IFF_UP);
    // SAFETY: the request is valid and outlives both calls; the second writes
    // the index into it.
    let index = unsafe {
        set_flags(socket.as_raw_fd(), &raw const request)?;
        get_index(socket.as_raw_fd(), &raw mut request)?;
        request.ifr_ifru.ifru_ifindex
    };
    // SAFETY: all zeroes is a valid address.
    let mut to: libc::sockaddr_ll = unsafe { zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    to.sll_ifindex = index;
    to.sll_halen = 6;
    Ok(to)
}

fn request(flags: libc::c_int) -> libc::ifreq {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap();
    request
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap()
}
