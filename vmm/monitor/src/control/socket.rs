//! The control socket: whole messages, descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockType, getsockopt, recvmsg, sendmsg, sockopt,
};
use vmm_api::{MAX_DESCRIPTORS, MAX_MESSAGE, Message, Request};

/// Descriptors that one message can bring: the kernel's limit (unix(7),
/// `SCM_RIGHTS`). With less room for them some would be here, and nobody would
/// be told their numbers.
const MOST_PASSED: usize = 253;

/// The control socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It is not there, or something else is.
    #[error("descriptor {fd} is not a SOCK_SEQPACKET socket: the parent has to leave one open")]
    NotASocket {
        /// Its number.
        fd: RawFd,
        /// Why, if the kernel says.
        #[source]
        source: Option<io::Error>,
    },
    /// Nothing can be received.
    #[error("receive a message of the shim's")]
    Receive(#[source] io::Error),
    /// It is no message.
    #[error("understand a message of the shim's")]
    Malformed(#[source] serde_json::Error),
    /// More than a message has.
    #[error(
        "a message of the shim's has more than {MAX_MESSAGE} bytes or {MAX_DESCRIPTORS} descriptors"
    )]
    TooLong,
    /// Nothing can be written.
    #[error("write a message to the shim")]
    Write(#[source] serde_json::Error),
    /// Nothing can be sent.
    #[error("send a message to the shim")]
    Send(#[source] io::Error),
}

/// Our end.
pub struct Control {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What came.
#[allow(clippy::large_enum_variant)] // There is one at a time, and it is taken apart at once.
pub enum Received {
    /// A request, with descriptors.
    Request(Request, Vec<OwnedFd>),
    /// The shim is gone.
    Closed,
}

impl Control {
    /// Takes over the socket that the parent left at `fd`.
    ///
    /// # Errors
    /// When there is none.
    #[allow(unsafe_code)] // A descriptor is inherited by number.
    pub fn inherited(fd: RawFd) -> Result<Self, ControlError> {
        let refused = |source| ControlError::NotASocket { fd, source };
        // SAFETY: it is used for one system call that accepts any number.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|errno| refused(Some(errno.into())))?;
        // SAFETY: it is open, and this process has been given it to own: the
        // number is the parent's, and nothing here has opened any yet.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Of a socket.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn new(socket: OwnedFd) -> Result<Self, ControlError> {
        let fd = socket.as_raw_fd();
        let source = match getsockopt(&socket, sockopt::SockType) {
            Ok(SockType::SeqPacket) => {
                return Ok(Self {
                    socket,
                    buffer: Vec::new(),
                });
            }
            Ok(_) => None,
            Err(errno) => Some(errno.into()),
        };
        Err(ControlError::NotASocket { fd, source })
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn receive(&mut self) -> Result<Received, ControlError> {
        // Given back between messages: the first is the only long one.
        self.buffer.resize(MAX_MESSAGE, 0);
        let mut space = cmsg_space!([RawFd; MOST_PASSED]);
        let (length, flags, fds) = receive(&self.socket, &mut self.buffer, &mut space)
            .map_err(|errno| ControlError::Receive(errno.into()))?;
        let message = std::mem::take(&mut self.buffer);
        if flags.contains(MsgFlags::MSG_TRUNC) || fds.len() > MAX_DESCRIPTORS {
            return Err(ControlError::TooLong);
        }
        match message.get(..length) {
            None | Some([]) => Ok(Received::Closed),
            Some(bytes) => serde_json::from_slice(bytes)
                .map(|request| Received::Request(request, fds))
                .map_err(ControlError::Malformed),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the shim is gone, or takes none.
    pub fn send(&self, message: &Message) -> Result<(), ControlError> {
        let bytes = serde_json::to_vec(message).map_err(ControlError::Write)?;
        let flags = MsgFlags::MSG_NOSIGNAL;
        let iov = [IoSlice::new(&bytes)];
        sendmsg::<()>(self.socket.as_raw_fd(), &iov, &[], flags, None)
            .map(drop)
            .map_err(|errno| ControlError::Send(errno.into()))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    space: &mut [u8],
) -> Result<(usize, MsgFlags, Vec<OwnedFd>), Errno> {
    let mut iov = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(space), flags) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let fds = message.cmsgs()?.flat_map(passed).collect();
    Ok((message.bytes, message.flags, fds))
}

#[allow(unsafe_code)] // Descriptors arrive as numbers.
fn passed(control: ControlMessageOwned) -> Vec<OwnedFd> {
    let ControlMessageOwned::ScmRights(fds) = control else {
        return Vec::new();
    };
    // SAFETY: the kernel has just made these descriptors for this process
    // (unix(7), SCM_RIGHTS); nobody else knows their numbers.
    fds.into_iter()
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, ControlMessage, SockFlag, socketpair};
    use std::os::unix::net::UnixStream;
    use vmm_api::Answer;

    fn pair() -> (Control, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        (Control::new(ours).unwrap(), theirs)
    }

    fn send(shim: &OwnedFd, bytes: &[u8], fds: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let iov = [IoSlice::new(bytes)];
        sendmsg::<()>(shim.as_raw_fd(), &iov, control, MsgFlags::empty(), None).unwrap();
    }

    #[test]
    fn a_request_comes_with_its_descriptors() {
        let (mut control, shim) = pair();
        send(&shim, br#""pause""#, &[0, 1, 2]);
        let Received::Request(request, fds) = control.receive().unwrap() else {
            panic!("closed");
        };
        assert_eq!(request, Request::Pause);
        assert_eq!(fds.len(), 3);
        drop(shim);
        assert!(matches!(control.receive().unwrap(), Received::Closed));
    }

    #[test]
    fn nonsense_is_an_error_and_not_the_end() {
        let (mut control, shim) = pair();
        send(&shim, b"[", &[]);
        assert!(matches!(control.receive(), Err(ControlError::Malformed(_))));
        send(&shim, &vec![b' '; MAX_MESSAGE + 1], &[]);
        assert!(matches!(control.receive(), Err(ControlError::TooLong)));
        send(&shim, br#""stats""#, &[]);
        assert!(matches!(control.receive(), Ok(Received::Request(..))));
    }

    /// How many of this process's descriptors are what `file` is.
    fn copies(file: &impl AsFd) -> usize {
        let path = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}"));
        let wanted = path(file.as_fd().as_raw_fd()).unwrap();
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        entries
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|link| *link == wanted)
            .count()
    }

    #[test]
    fn too_many_descriptors_are_refused_and_closed() {
        let (mut control, shim) = pair();
        let (passed, _theirs) = UnixStream::pair().unwrap();
        for count in [MAX_DESCRIPTORS + 1, MOST_PASSED] {
            send(&shim, br#""pause""#, &vec![passed.as_raw_fd(); count]);
            assert!(matches!(control.receive(), Err(ControlError::TooLong)));
        }
        // Counted, not waited for: other tests fork, and a child has a copy for a moment.
        assert_eq!(copies(&passed), 1);
    }

    #[test]
    fn an_answer_is_one_message() {
        let (control, shim) = pair();
        control.send(&Message::Answer(Answer::Done)).unwrap();
        let mut bytes = [0; 64];
        let length = nix::unistd::read(&shim, &mut bytes).unwrap();
        assert_eq!(&bytes[..length], br#"{"answer":"done"}"#);
    }

    #[test]
    fn another_socket_is_refused() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(Control::new(stream.into()).is_err());
        assert!(Control::inherited(9999).is_err());
    }
}
