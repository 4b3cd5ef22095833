//! Messages with descriptors, both ways.

#![allow(unsafe_code)] // Descriptors arrive as numbers.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], fds: &[OwnedFd]) -> anyhow::Result<()> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if fds.is_empty() { &[][..] } else { &rights };
    let iov = [IoSlice::new(bytes)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &iov,
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// The next message within `patience`; empty at the end.
pub(crate) fn receive(
    socket: &OwnedFd,
    patience: Duration,
) -> anyhow::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut source = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut source, PollTimeout::try_from(patience)?)?;
    ensure!(ready > 0, "no message within {patience:?}");
    let mut bytes = vec![0; 4096];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let mut space = cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let length = message.bytes;
    let fd = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().map(|fd| {
            // SAFETY: the kernel has just made this descriptor for us.
            unsafe { OwnedFd::from_raw_fd(*fd) }
        }),
        _ => None,
    });
    let bytes = bytes
        .get(..length)
        .context("a message longer than itself")?;
    Ok((bytes.to_vec(), fd))
}
