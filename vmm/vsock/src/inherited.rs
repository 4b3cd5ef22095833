//! Descriptors that the parent left open for this process.

// Taking over a descriptor by its number cannot be checked by the compiler.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// It is not open.
    #[error("descriptor {fd} ({what}) is not open: the parent has to leave it open")]
    NotOpen {
        /// Its number.
        fd: RawFd,
        /// What it should be.
        what: &'static str,
        /// Why.
        #[source]
        cause: Errno,
    },
    /// It is something else.
    #[error("descriptor {fd} is not {what}")]
    Other {
        /// Its number.
        fd: RawFd,
        /// What it should be.
        what: &'static str,
    },
}

/// Takes over a listening socket.
///
/// # Errors
/// When the descriptor is not one.
pub fn listener(fd: RawFd) -> Result<OwnedFd, InheritedError> {
    let what = "a listening socket";
    let socket = take(fd, what)?;
    match getsockopt(&socket, sockopt::AcceptConn) {
        Ok(true) => Ok(socket),
        _ => Err(InheritedError::Other { fd, what }),
    }
}

/// Takes over a socket that keeps messages apart.
///
/// # Errors
/// When the descriptor is not one.
pub fn message_socket(fd: RawFd) -> Result<OwnedFd, InheritedError> {
    let what = "a connected SOCK_SEQPACKET socket";
    let socket = take(fd, what)?;
    match getsockopt(&socket, sockopt::SockType) {
        Ok(SockType::SeqPacket) => Ok(socket),
        _ => Err(InheritedError::Other { fd, what }),
    }
}

/// Takes over a descriptor and closes it on exec.
fn take(fd: RawFd, what: &'static str) -> Result<OwnedFd, InheritedError> {
    let not_open = |cause| InheritedError::NotOpen { fd, what, cause };
    if fd < 0 {
        return Err(not_open(Errno::EBADF));
    }
    // SAFETY: it is used for one system call that accepts any number.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(not_open)?;
    // SAFETY: it is open, and this process has been given it to own: the
    // numbers come from the parent, and nothing here has opened any yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_closed_descriptor_is_named() {
        let error = listener(9999).unwrap_err().to_string();
        assert!(
            error.contains("9999") && error.contains("listening"),
            "{error}"
        );
        assert!(matches!(
            message_socket(-1),
            Err(InheritedError::NotOpen { fd: -1, .. })
        ));
    }

    #[test]
    fn the_wrong_kind_is_refused() {
        let (a, b) = UnixStream::pair().unwrap();
        assert!(matches!(
            listener(a.into_raw_fd()),
            Err(InheritedError::Other { .. })
        ));
        assert!(matches!(
            message_socket(b.into_raw_fd()),
            Err(InheritedError::Other { .. })
        ));
    }
}
