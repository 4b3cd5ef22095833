//! Messages with descriptors beside them (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Sends `message` and `fds`. Never waits: there is room, or it is an error
/// that says so.
pub(super) fn send(socket: RawFd, message: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket, &[IoSlice::new(message)], rights, flags, None)?;
    Ok(())
}
