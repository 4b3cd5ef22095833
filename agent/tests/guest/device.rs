//! The product's vsock device process.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use command_fds::{CommandFdExt, FdMapping};
use protocol::ports;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// The device, and our end of the socket on which it hands over connections.
pub(crate) struct Device {
    process: Child,
}

impl Device {
    /// Starts the device for the machine that will connect to `socket`.
    pub(crate) fn start(socket: &Path) -> (Self, OwnedFd) {
        let listener = UnixListener::bind(socket).unwrap();
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut command = Command::new(program());
        command.args(["--listen-fd", "3", "--handover-fd", "4", "--guest-cid", "3"]);
        for port in [ports::CONTROL, ports::STDIO] {
            command.args(["--port", &port.to_string()]);
        }
        command
            .fd_mappings(vec![
                FdMapping {
                    parent_fd: listener.into(),
                    child_fd: 3,
                },
                FdMapping {
                    parent_fd: theirs,
                    child_fd: 4,
                },
            ])
            .unwrap();
        (
            Self {
                process: command.spawn().expect("start kata-mshv-vsock"),
            },
            ours,
        )
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Fails if it has ended with the machine, as it should.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Cargo builds only this package's programs for its tests.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(built) = std::env::var_os("KATA_MSHV_TEST_VSOCK") {
            return built.into();
        }
        let agent = Path::new(env!("CARGO_BIN_EXE_kata-mshv-agent"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--package",
            "vsock-device",
            "--bin",
            "kata-mshv-vsock",
        ]);
        if agent
            .parent()
            .is_some_and(|folder| folder.ends_with("release"))
        {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "build kata-mshv-vsock");
        agent.with_file_name("kata-mshv-vsock")
    })
}
