//! Requests to the kernel's routing netlink, one at a time (rtnetlink(7)).
//!
//! The kernel works on a request while it is being sent and answers before the
//! call returns, so waiting for the acknowledgement never blocks.

use netlink_packet_core::Emitable;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, sendto,
    socket_with,
};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
/// Replace what is there, or create it: requests can be repeated.
pub(super) const REPLACE: u16 = 0x100 | 0x400;
/// Put it behind those that are there, or create the first.
pub(super) const APPEND: u16 = 0x800 | 0x400;
/// Create it if it is not there.
pub(super) const CREATE: u16 = 0x200 | 0x400;

/// What is made: the `RTM_NEW…` message types of `linux/rtnetlink.h`. The type that
/// takes it away, `RTM_DEL…`, is the next number.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(super) enum Kind {
    Link = 16,
    Address = 20,
    Route = 24,
    Neighbour = 28,
    Rule = 32,
    Qdisc = 36,
    Filter = 44,
}

/// The kernel refused a request, or the socket failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error(transparent)]
    Refused(#[from] std::io::Error),
    #[error("the kernel's answer is not an acknowledgement")]
    NotAcknowledged,
}

impl NetlinkError {
    /// What is asked for is there already.
    pub(super) fn already(&self) -> bool {
        matches!(self, Self::Refused(error) if error.kind() == std::io::ErrorKind::AlreadyExists)
    }

    /// What is to be taken away is not there.
    fn gone(&self) -> bool {
        const GONE: [Errno; 4] = [Errno::NOENT, Errno::SRCH, Errno::ADDRNOTAVAIL, Errno::NODEV];
        matches!(self, Self::Refused(error) if Errno::from_io_error(error)
            .is_some_and(|errno| GONE.contains(&errno)))
    }
}

impl From<Errno> for NetlinkError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno.into())
    }
}

/// A socket to the kernel's routing tables.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // Of the netlink family: NETLINK_ROUTE.
            None,
        )?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends `body` as a message of `kind` and waits for the kernel's verdict.
    pub(super) fn request(
        &mut self,
        kind: Kind,
        flags: u16,
        body: &impl Emitable,
    ) -> Result<(), NetlinkError> {
        self.send(kind as u16, flags, body)
    }

    /// Has what `body` describes taken away, unless it is not there.
    pub(super) fn remove(&mut self, kind: Kind, body: &impl Emitable) -> Result<(), NetlinkError> {
        match self.send(kind as u16 + 1, 0, body) {
            Err(error) if error.gone() => Ok(()),
            other => other,
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &impl Emitable) -> Result<(), NetlinkError> {
        self.sequence += 1;
        let message = encode(kind, flags, self.sequence, body);
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 1024];
        let (_, length) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        acknowledged(answer.get(..length).unwrap_or_default())
    }
}

fn encode(kind: u16, flags: u16, sequence: u32, body: &impl Emitable) -> Vec<u8> {
    let length = HEADER + body.buffer_len();
    let mut message = vec![0; length];
    // A request is some hundred bytes; an impossible length is refused by the kernel.
    message[0..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    body.emit(&mut message[HEADER..]);
    message
}

/// Reads an `NLMSG_ERROR` message: its code is 0 or a negative errno.
fn acknowledged(answer: &[u8]) -> Result<(), NetlinkError> {
    const NLMSG_ERROR: u16 = 2;
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    let code = answer
        .get(HEADER..HEADER + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => {
            Err(std::io::Error::from_raw_os_error(code.saturating_neg()).into())
        }
        _ => Err(NetlinkError::NotAcknowledged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, code: i32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 4];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[HEADER..].copy_from_slice(&code.to_ne_bytes());
        bytes
    }

    #[test]
    fn what_is_not_there_cannot_be_taken_away_again() {
        let refused = |errno: Errno| NetlinkError::from(errno).gone();
        assert!(refused(Errno::SRCH) && refused(Errno::ADDRNOTAVAIL));
        assert!(!refused(Errno::PERM));
    }

    #[test]
    fn the_kernels_error_is_told() {
        assert!(acknowledged(&answer(2, 0)).is_ok());
        let error = acknowledged(&answer(2, -17)).unwrap_err();
        assert!(matches!(error, NetlinkError::Refused(e) if e.raw_os_error() == Some(17)));
        assert!(acknowledged(&answer(3, 0)).is_err());
        assert!(acknowledged(&[1, 2, 3]).is_err());
    }
}
