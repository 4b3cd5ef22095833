//! The device process under test.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use anyhow::{Context, ensure};
use command_fds::{CommandFdExt, FdMapping};

use crate::share::Share;

pub(crate) struct Device {
    process: Child,
    socket: PathBuf,
}

impl Device {
    pub(crate) fn start(share: &Share, options: &[&str]) -> anyhow::Result<Self> {
        let socket = share.beside("device.sock");
        let mut command = command(&share.path(), &socket)?;
        let process = command.args(options).spawn();
        Ok(Self {
            process: process.context("start kata-mshv-fs")?,
            socket,
        })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A file of this process under proc(5).
    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.process.id().to_string())
            .join(file)
    }

    pub(crate) fn status(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.process.wait()?)
    }

    /// The machine is gone, so the device ends, and well.
    pub(crate) fn ends(self) -> anyhow::Result<()> {
        let status = self.status()?;
        ensure!(status.success(), "kata-mshv-fs ended with {status}");
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Fails if it has ended, as it should.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The command that serves `share` on a new listening socket at `socket`.
pub(crate) fn command(share: &Path, socket: &Path) -> anyhow::Result<Command> {
    let listener = UnixListener::bind(socket).context("bind the device's socket")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_kata-mshv-fs"));
    command.args(["--listen-fd", "3", "--share"]).arg(share);
    command.fd_mappings(vec![FdMapping {
        parent_fd: listener.into(),
        child_fd: 3,
    }])?;
    Ok(command)
}
