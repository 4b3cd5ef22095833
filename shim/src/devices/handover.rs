//! How a guest's connections reach the shim: the vsock device makes a socket
//! pair for each and sends one end. It needs no path and no right to connect.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of a message: destination port, source port, each a little-endian u32.
const MESSAGE: usize = 8;

/// The shim's end of the handover socket. It is a SOCK_SEQPACKET socket, for
/// which tokio has no type of its own; only its readiness is used.
pub(crate) struct Handover(UnixStream);

/// A connection that the guest dialled.
pub(crate) struct Dialled {
    /// Which port of the host.
    pub(crate) port: u32,
    pub(crate) stream: UnixStream,
}

impl Handover {
    /// Our end, and the device's.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let ours = UnixStream::from_std(ours.into())?;
        Ok((Self(ours), theirs))
    }

    /// The next connection; `None` when the device has ended. A message that
    /// makes no sense ends it too: the device is not to be believed any more.
    pub(crate) async fn next(&self) -> Option<Dialled> {
        let received = self
            .0
            .async_io(Interest::READABLE, || receive(&self.0))
            .await;
        let (port, fd) = received.ok()??;
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true).ok()?;
        Some(Dialled {
            port,
            stream: UnixStream::from_std(stream).ok()?,
        })
    }
}

fn receive(socket: &impl AsRawFd) -> io::Result<Option<(u32, OwnedFd)>> {
    let mut message = [0; MESSAGE];
    let mut control = cmsg_space!([nix::libc::c_int; 1]);
    let mut buffers = [IoSliceMut::new(&mut message)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
    let length = received.bytes;
    let fd = received.cmsgs()?.find_map(passed_fd);
    let port = message
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes));
    Ok(port.filter(|_| length == MESSAGE).zip(fd))
}

#[allow(unsafe_code)]
fn passed_fd(control: ControlMessageOwned) -> Option<OwnedFd> {
    let ControlMessageOwned::ScmRights(fds) = control else {
        return None;
    };
    // SAFETY: the kernel has just made these descriptors for this process
    // (unix(7), SCM_RIGHTS); nobody else knows their numbers.
    let owned = fds
        .into_iter()
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // All are taken, so that one too many is closed.
    owned.collect::<Vec<_>>().pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessage, sendmsg};
    use std::io::IoSlice;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn send(device: &OwnedFd, message: &[u8], fds: &[i32]) {
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let iov = [IoSlice::new(message)];
        sendmsg::<()>(device.as_raw_fd(), &iov, control, MsgFlags::empty(), None).unwrap();
    }

    #[tokio::test]
    async fn a_connection_arrives_with_its_port() {
        let (handover, device) = Handover::pair().unwrap();
        let (mut guest, host) = UnixStream::pair().unwrap();
        send(&device, &[0, 4, 0, 0, 9, 0, 0, 0], &[host.as_raw_fd()]);
        drop(host);

        let mut dialled = handover.next().await.unwrap();
        assert_eq!(dialled.port, 1024);
        guest.write_all(b"hi").await.unwrap();
        guest.shutdown().await.unwrap();
        let mut text = String::new();
        dialled.stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
    }

    #[tokio::test]
    async fn the_end_of_the_device_and_nonsense_end_it() {
        let (handover, device) = Handover::pair().unwrap();
        send(&device, &[1, 2, 3], &[]);
        assert!(handover.next().await.is_none());
        drop(device);
        assert!(handover.next().await.is_none());
    }
}
