//! The device processes, started as the shim starts them.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::Context;
use command_fds::{CommandFdExt, FdMapping};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use protocol::ports;

/// A device's process, and the connection for the VMM.
pub(crate) struct Device {
    pub(crate) process: Child,
    pub(crate) front_end: Option<OwnedFd>,
    share: Option<Share>,
}

impl Device {
    /// The file server of `folder/share`.
    pub(crate) fn fs(folder: &Path) -> anyhow::Result<Self> {
        let (command, share) = file_server(folder)?;
        let mut device = Self::start(command, folder, Vec::new())?;
        device.share = Some(share);
        Ok(device)
    }

    /// The same, for a VMM that connects to the socket `path` by itself.
    #[allow(dead_code)] // Not ours; others do.
    pub(crate) fn fs_at(folder: &Path, path: &Path) -> anyhow::Result<Self> {
        let (mut command, share) = file_server(folder)?;
        pass(&mut command, vec![UnixListener::bind(path)?.into()])?;
        Ok(Self {
            process: command.spawn().context("start a device")?,
            front_end: None,
            share: Some(share),
        })
    }

    /// The socket device, and our end of its handover socket.
    pub(crate) fn vsock(folder: &Path) -> anyhow::Result<(Self, OwnedFd)> {
        let (ours, theirs) = seqpacket()?;
        let mut command = Command::new(lab::path("kata-mshv-vsock"));
        command.args(["--listen-fd", "3", "--handover-fd", "4", "--guest-cid", "3"]);
        command.arg(format!("--port={}", ports::CONTROL));
        Ok((Self::start(command, folder, vec![theirs])?, ours))
    }

    fn start(mut command: Command, folder: &Path, others: Vec<OwnedFd>) -> anyhow::Result<Self> {
        let path = folder.join("vhost-user.sock");
        let listener = UnixListener::bind(&path)?;
        let front_end = UnixStream::connect(&path)?;
        std::fs::remove_file(&path)?;
        let mut fds = vec![OwnedFd::from(listener)];
        fds.extend(others);
        pass(&mut command, fds)?;
        Ok(Self {
            process: command.spawn().context("start a device")?,
            front_end: Some(front_end.into()),
            share: None,
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.share = None;
        // Fails if it has ended with the machine, as it should.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As it is started, but for its socket.
fn file_server(folder: &Path) -> anyhow::Result<(Command, Share)> {
    let share = Share::new(folder.join("share"))?;
    let mut command = Command::new(lab::path("kata-mshv-fs"));
    command.args(["--listen-fd", "3", "--share"]).arg(&share.0);
    Ok((command, share))
}

/// A mount of its own whose later mounts the file server sees: it refuses any
/// other.
struct Share(PathBuf);

impl Share {
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir(&path)?;
        let (none, flags) = (None::<&str>, MsFlags::MS_NOSUID);
        mount(none, &path, Some("tmpfs"), flags, none)?;
        let share = Self(path);
        mount(none, &share.0, none, MsFlags::MS_SHARED, none)?;
        Ok(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // The folder around it cannot be removed otherwise, and is reported.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Makes `fds` numbers 3, 4 and so on of the command.
pub(crate) fn pass(command: &mut Command, fds: Vec<OwnedFd>) -> anyhow::Result<()> {
    let mappings = (3..).zip(fds).map(|(child_fd, parent_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    command.fd_mappings(mappings.collect())?;
    Ok(())
}

pub(crate) fn seqpacket() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}
