//! Giving the shim its ends of the connections.
//!
//! One `SOCK_SEQPACKET` message per connection: destination port and guest's
//! source port, two little-endian u32, with one descriptor.

use crate::state::connection::Key;
use crate::state::limits::MAX_CONNECTIONS;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Octets of a message.
pub const MESSAGE_LEN: usize = 8;

/// A descriptor could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The shim has not taken those that wait.
    #[error("{MAX_CONNECTIONS} connections already wait for the shim to take them")]
    Full,
    /// The kernel refused.
    #[error("cannot send a descriptor over the handover socket")]
    Send(#[source] Errno),
}

/// The socket to the shim.
#[derive(Debug)]
pub struct Handover {
    socket: OwnedFd,
    waiting: VecDeque<(Key, OwnedFd)>,
}

impl Handover {
    /// `socket` is our end of a `SOCK_SEQPACKET` pair.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
        }
    }

    /// The socket, to wait for events on.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Gives `end` to the shim, now or when it has taken those before.
    ///
    /// # Errors
    /// When too many wait, or the kernel refuses to send descriptors.
    pub fn offer(&mut self, key: Key, end: OwnedFd) -> Result<(), HandoverError> {
        if self.waiting.len() >= MAX_CONNECTIONS {
            return Err(HandoverError::Full);
        }
        if self.waiting.is_empty() && self.try_send(key, &end)? {
            return Ok(());
        }
        self.waiting.push_back((key, end));
        Ok(())
    }

    /// The socket has room: sends those that wait. One that the kernel refuses
    /// is closed, so that its connection ends.
    pub fn resume(&mut self) {
        while let Some((key, end)) = self.waiting.front() {
            if let Ok(false) = self.try_send(*key, end) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    fn try_send(&self, key: Key, end: &OwnedFd) -> Result<bool, HandoverError> {
        let mut message = [0; MESSAGE_LEN];
        message[..4].copy_from_slice(&key.host_port.to_le_bytes());
        message[4..].copy_from_slice(&key.guest_port.to_le_bytes());
        let sent = sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&message)],
            &[ControlMessage::ScmRights(&[end.as_raw_fd()])],
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(HandoverError::Send(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{
        AddressFamily, ControlMessageOwned, SockFlag, SockType, recvmsg, socketpair,
    };
    use std::io::IoSliceMut;
    use std::os::fd::{FromRawFd, RawFd};

    fn pair() -> (Handover, OwnedFd) {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )
        .unwrap();
        (Handover::new(ours), theirs)
    }

    fn some_fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn key(guest_port: u32) -> Key {
        Key {
            guest_port,
            host_port: 1025,
        }
    }

    /// Takes one message; its descriptor is closed.
    fn take(theirs: &OwnedFd) -> Option<Vec<u8>> {
        let mut bytes = [0; 64];
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let message = recvmsg::<()>(
            theirs.as_raw_fd(),
            &mut iov,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .ok()?;
        let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
            panic!("no descriptor");
        };
        let len = message.bytes;
        assert_eq!(nix::unistd::close(fds[0]), Ok(()));
        Some(bytes[..len].to_vec())
    }

    #[test]
    fn a_message_is_two_ports_and_a_descriptor() {
        let (mut handover, theirs) = pair();
        handover.offer(key(0x0102_0304), some_fd()).unwrap();
        assert_eq!(take(&theirs).unwrap(), [1, 4, 0, 0, 4, 3, 2, 1]);
        assert_eq!(take(&theirs), None);
    }

    #[test]
    fn a_slow_shim_gets_all_of_them_in_order() {
        let (mut handover, theirs) = pair();
        let mut offered = 0;
        while handover.waiting.len() < 10 {
            handover.offer(key(offered), some_fd()).unwrap();
            offered += 1;
        }
        for port in 0..offered {
            let message = take(&theirs).unwrap();
            assert_eq!(message[4..], port.to_le_bytes());
            handover.resume();
        }
        assert_eq!(take(&theirs), None);
    }

    #[test]
    fn a_shim_that_is_gone_is_an_error() {
        let (mut handover, theirs) = pair();
        drop(theirs);
        let error = handover.offer(key(1), some_fd()).unwrap_err();
        assert!(matches!(error, HandoverError::Send(Errno::EPIPE)));
    }

    #[test]
    fn those_that_wait_are_bounded() {
        let (mut handover, _theirs) = pair();
        let shared = some_fd();
        while handover.waiting.len() < MAX_CONNECTIONS {
            let fd = shared.try_clone().unwrap();
            if handover.waiting.len() > 8 {
                // Queued without a descriptor of its own being worth one.
                handover.waiting.push_back((key(0), fd));
                continue;
            }
            handover.offer(key(0), fd).unwrap();
        }
        let error = handover.offer(key(0), shared).unwrap_err();
        assert!(matches!(error, HandoverError::Full));
    }

    #[allow(unsafe_code)]
    #[test]
    fn descriptors_arrive_usable() {
        use std::io::{Read, Write};
        use std::os::unix::net::UnixStream;
        let (mut handover, theirs) = pair();
        let (mut near, far) = UnixStream::pair().unwrap();
        handover.offer(key(1), far.into()).unwrap();
        let mut bytes = [0; 8];
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let message = recvmsg::<()>(
            theirs.as_raw_fd(),
            &mut iov,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
            panic!("no descriptor");
        };
        // SAFETY: the kernel has just made this descriptor for us.
        let mut far = unsafe { UnixStream::from_raw_fd(fds[0]) };
        near.write_all(b"hello").unwrap();
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
