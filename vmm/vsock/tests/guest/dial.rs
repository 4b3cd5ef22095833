//! Opening connections, and being refused.

use crate::cases::Outcome;
use crate::shim::Shim;
use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, VsockAddr, connect, getsockname, socket,
};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

const HOST: u32 = 2;
const CONTROL: u32 = 1024;
const STDIO: u32 = 1025;

/// The guest's control connection.
pub(crate) fn control() -> anyhow::Result<UnixStream> {
    Ok(connect_to(HOST, CONTROL)?.into())
}

/// A connection of the guest for a case.
pub(crate) fn stream() -> anyhow::Result<UnixStream> {
    Ok(try_stream()?.into())
}

/// The same, with the error as it comes.
pub(crate) fn try_stream() -> Result<OwnedFd, Errno> {
    connect_to(HOST, STDIO)
}

/// The standard library's stream type serves for any stream socket.
fn connect_to(cid: u32, port: u32) -> Result<OwnedFd, Errno> {
    let socket = socket(
        AddressFamily::Vsock,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    connect(socket.as_raw_fd(), &VsockAddr::new(cid, port))?;
    Ok(socket)
}

pub(crate) fn guest_echoes() -> Outcome {
    let socket = connect_to(HOST, STDIO)?;
    let port = getsockname::<VsockAddr>(socket.as_raw_fd())?.port();
    let mut stream = UnixStream::from(socket);
    stream.write_all(&port.to_le_bytes())?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    ensure!(answer == port.to_le_bytes(), "got {answer:?}");
    Ok(String::new())
}

pub(crate) fn host_echoes(shim: &Shim) -> Outcome {
    let mut handed = shim.accept()?;
    ensure!(handed.host_port == STDIO, "port {}", handed.host_port);
    let mut bytes = [0; 4];
    handed.stream.read_exact(&mut bytes)?;
    ensure!(
        u32::from_le_bytes(bytes) == handed.guest_port,
        "source port"
    );
    handed.stream.write_all(&bytes)?;
    ensure!(handed.stream.read(&mut bytes)? == 0, "no end of file");
    Ok(String::new())
}

pub(crate) fn guest_is_refused() -> Outcome {
    for (cid, port) in [(HOST, 9999), (HOST, CONTROL - 1), (5, STDIO)] {
        let refused = connect_to(cid, port).err().context("connected")?;
        ensure!(refused == Errno::ECONNRESET, "{cid}:{port} gave {refused}");
    }
    Ok(String::new())
}

/// Nothing is handed over, which the next case would notice.
pub(crate) fn host_refuses(_: &Shim) -> Outcome {
    Ok(String::new())
}
