//! A tap, as the shim made it: one descriptor of it, that is one queue.

#![allow(unsafe_code)] // Its ioctls have no safe wrappers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::features::ALL_OFFLOADS;
use super::packet::HEADER;

nix::ioctl_read_bad!(
    /// `TUNGETIFF` of `linux/if_tun.h`.
    tun_get_iff,
    libc::TUNGETIFF,
    libc::ifreq
);
nix::ioctl_write_ptr_bad!(
    /// `TUNSETVNETHDRSZ` of `linux/if_tun.h`.
    tun_set_vnet_hdr_sz,
    libc::TUNSETVNETHDRSZ,
    libc::c_int
);
nix::ioctl_write_int_bad!(
    /// `TUNSETOFFLOAD` of `linux/if_tun.h`.
    tun_set_offload,
    libc::TUNSETOFFLOAD
);
nix::ioctl_write_ptr_bad!(
    /// `TUNSETQUEUE` of `linux/if_tun.h`.
    tun_set_queue,
    libc::TUNSETQUEUE,
    libc::ifreq
);

/// A descriptor that is not the tap that it should be.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// No tap at all, or one that is gone.
    #[error("ask what tap a descriptor is")]
    NotOne(#[source] io::Error),
    /// A tap whose packets are not those of virtio-net.
    #[error(
        "the tap's flags are {flags:#x}: packets have to be Ethernet's, with the virtio-net header"
    )]
    Flags {
        /// `IFF_*` of `linux/if_tun.h`.
        flags: i32,
    },
    /// It cannot be prepared.
    #[error("{step} of a tap")]
    Prepare {
        /// What was attempted.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The tap.
pub(super) struct Tap(OwnedFd);

impl Tap {
    /// Checks that `fd` is one, and prepares it for virtio's packets. It leaves
    /// nothing to the guest before [`Self::leave`].
    pub(super) fn new(fd: OwnedFd) -> Result<Self, TapError> {
        let flags = flags(fd.as_fd()).map_err(|errno| TapError::NotOne(errno.into()))?;
        // Whether it has IFF_NO_PI does not show: the same bit tells that it
        // has no filter.
        let kind = libc::IFF_TAP | libc::IFF_VNET_HDR;
        if flags & kind != kind {
            return Err(TapError::Flags { flags });
        }
        let tap = Self(fd);
        tap.never_block()
            .map_err(failed("make calls that do not block"))?;
        tap.set_header_size()
            .map_err(failed("set the header's size"))?;
        tap.leave(0).map_err(failed("set the offloads"))?;
        Ok(tap)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether its interface is still there.
    pub(super) fn is_there(&self) -> bool {
        flags(self.0.as_fd()).is_ok()
    }

    fn never_block(&self) -> nix::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&self.0, FcntlArg::F_GETFL)?);
        fcntl(&self.0, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
    }

    fn set_header_size(&self) -> nix::Result<()> {
        let size = libc::c_int::try_from(HEADER).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the size outlives the call, and the descriptor is a tap's.
        unsafe { tun_set_vnet_hdr_sz(self.0.as_raw_fd(), &raw const size) }.map(drop)
    }

    /// Leaves to the guest what `offloads` says (`TUN_F_*`).
    pub(super) fn leave(&self, offloads: u32) -> nix::Result<()> {
        let offloads = libc::c_int::try_from(offloads).map_err(|_| Errno::EINVAL)?;
        // SAFETY: it takes a number, and the descriptor is a tap's.
        unsafe { tun_set_offload(self.0.as_raw_fd(), offloads) }.map(drop)
    }

    /// Whether the kernel knows of UDP segments. Leaves nothing to the guest.
    pub(super) fn knows_udp_segments(&self) -> nix::Result<bool> {
        match self.leave(ALL_OFFLOADS) {
            Err(Errno::EINVAL) => Ok(false),
            left => {
                left?;
                self.leave(0).map(|()| true)
            }
        }
    }

    /// Whether packets come this way, of a tap of several queues.
    pub(super) fn use_queue(&self, used: bool) -> nix::Result<()> {
        let flag = match used {
            true => libc::IFF_ATTACH_QUEUE,
            false => libc::IFF_DETACH_QUEUE,
        };
        let mut request = empty_request();
        request.ifr_ifru.ifru_flags = i16::try_from(flag).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the request outlives the call, and the descriptor is a tap's.
        match unsafe { tun_set_queue(self.0.as_raw_fd(), &raw const request) } {
            // It is so already.
            Err(Errno::EINVAL) => Ok(()),
            set => set.map(drop),
        }
    }
}

fn flags(fd: BorrowedFd<'_>) -> nix::Result<i32> {
    let mut request = empty_request();
    // SAFETY: the request is a valid ifreq that the call may write to; on
    // anything but a tun or tap the kernel refuses it.
    unsafe { tun_get_iff(fd.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the call has written this member; any 16 bits are a value of it.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags.cast_unsigned()))
}

fn empty_request() -> libc::ifreq {
    // SAFETY: ifreq is plain old data; all zeroes is a valid value of it.
    unsafe { std::mem::zeroed() }
}

fn failed(step: &'static str) -> impl FnOnce(Errno) -> TapError {
    move |errno| TapError::Prepare {
        step,
        source: errno.into(),
    }
}
