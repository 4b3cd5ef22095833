//! The shim's side of the handover socket.

// The kernel gives descriptors as numbers.
#![allow(unsafe_code)]

use anyhow::{Context, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection as the device hands it over.
pub(crate) struct Handed {
    pub(crate) host_port: u32,
    pub(crate) guest_port: u32,
    /// Blocking, with a timeout.
    pub(crate) stream: UnixStream,
}

/// What a host half has to do with.
pub(crate) struct Shim {
    /// The handover socket.
    pub(crate) socket: OwnedFd,
    /// The device's process.
    pub(crate) device: u32,
    /// QEMU's monitor.
    pub(crate) monitor: PathBuf,
}

impl Shim {
    pub(crate) fn accept(&self) -> anyhow::Result<Handed> {
        self.accept_within(TIMEOUT)
    }

    pub(crate) fn accept_many(&self, count: usize) -> anyhow::Result<Vec<UnixStream>> {
        (0..count).map(|_| Ok(self.accept()?.stream)).collect()
    }

    /// Fails if the device does anything although nothing happens.
    pub(crate) fn ensure_idle(&self) -> anyhow::Result<()> {
        std::thread::sleep(Duration::from_millis(100));
        let before = self.cpu_ticks()?;
        std::thread::sleep(Duration::from_millis(400));
        let spent = self.cpu_ticks()? - before;
        ensure!(
            spent <= 1,
            "the device spent {spent} ticks of 10 ms on nothing"
        );
        Ok(())
    }

    /// Processor time of the device, user and system (proc_pid_stat(5)).
    pub(crate) fn cpu_ticks(&self) -> anyhow::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.device))?;
        let (_, fields) = stat.rsplit_once(')').context("no name")?;
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|field| Ok(field.parse::<u64>()?)).sum()
    }

    pub(crate) fn accept_within(&self, timeout: Duration) -> anyhow::Result<Handed> {
        let mut source = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut source, PollTimeout::try_from(timeout)?)?;
        ensure!(ready > 0, "no connection was handed over");
        let mut message = [0; 9];
        let mut iov = [IoSliceMut::new(&mut message)];
        let mut space = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
        ensure!(
            received.bytes == 8,
            "a message of {} octets",
            received.bytes
        );
        let Some(ControlMessageOwned::ScmRights(fds)) = received.cmsgs()?.next() else {
            bail!("no descriptor");
        };
        // SAFETY: the kernel has just made this descriptor for us.
        let stream = unsafe { UnixStream::from_raw_fd(*fds.first().context("no descriptor")?) };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let (host_port, guest_port) = (&message[..4], &message[4..8]);
        Ok(Handed {
            host_port: u32::from_le_bytes(host_port.try_into()?),
            guest_port: u32::from_le_bytes(guest_port.try_into()?),
            stream,
        })
    }
}
