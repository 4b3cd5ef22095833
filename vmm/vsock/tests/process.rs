//! The process: what it needs, how it is confined, when it ends.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ARGUMENTS: [&str; 4] = [
    "--listen-fd=3",
    "--handover-fd=4",
    "--guest-cid=3",
    "--port=1024",
];

/// A running device, with the ends of those around it.
struct Process {
    child: Child,
    directory: TempDir,
    shim: OwnedFd,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kata-mshv-vsock"));
    command.args(ARGUMENTS).stderr(Stdio::piped());
    command
}

fn message_pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

fn start(mut command: Command) -> Process {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    let (ours, shim) = message_pair();
    let mappings = [(listener.into(), 3), (ours, 4)].map(|(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    command.fd_mappings(mappings.into()).unwrap();
    Process {
        child: command.spawn().unwrap(),
        directory,
        shim,
    }
}

impl Process {
    /// Connects as the VMM, and waits until the device is ready for it.
    fn connect(&self) -> UnixStream {
        let vmm = UnixStream::connect(self.directory.path().join("socket")).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while self.status("Seccomp") != "2" {
            assert!(Instant::now() < end, "it does not confine itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        vmm
    }

    /// A field of /proc/PID/status.
    fn status(&self, field: &str) -> String {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    }

    fn wait(mut self) -> Output {
        let end = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                self.child.kill().unwrap();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.wait_with_output().unwrap()
    }
}

fn assert_silent_success(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(stderr, "");
}

#[test]
fn it_ends_with_the_vmm() {
    let process = start(command());
    drop(process.connect());
    assert_silent_success(&process.wait());
}

#[test]
fn it_ends_with_the_shim() {
    let mut process = start(command());
    let _vmm = process.connect();
    process.shim = message_pair().0;
    assert_silent_success(&process.wait());
}

#[test]
fn it_ends_with_the_shim_also_when_no_vmm_comes() {
    let mut process = start(command());
    std::thread::sleep(Duration::from_millis(100));
    process.shim = message_pair().0;
    assert_silent_success(&process.wait());
}

#[test]
fn a_vmm_that_talks_nonsense_is_an_error() {
    use std::io::Write;
    let process = start(command());
    process.connect().write_all(&[0xff; 64]).unwrap();
    let output = process.wait();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("vhost-user connection broke"), "{stderr}");
}

#[test]
fn it_has_no_rights() {
    let process = start(command());
    let _vmm = process.connect();
    assert_eq!(process.status("NoNewPrivs"), "1");
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    for set in sets {
        assert_eq!(process.status(set), "0000000000000000", "{set}");
    }
    assert_eq!(process.status("Threads"), "3");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(process.status("CapBnd"), "0000000000000000");
        assert_eq!(process.status("Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(process.status("Gid"), "65534\t65534\t65534\t65534");
        assert_eq!(process.status("Groups"), "");
        let root = std::fs::read_link(format!("/proc/{}/root", process.child.id())).unwrap();
        assert!(
            root.to_string_lossy().ends_with(" (deleted)"),
            "{}",
            root.display()
        );
    }
}

/// Whoever may start it need not be root.
#[test]
fn it_runs_for_any_user() {
    let mut command = command();
    if nix::unistd::geteuid().is_root() {
        command.uid(1000).gid(1000);
    }
    let process = start(command);
    drop(process.connect());
    assert_silent_success(&process.wait());
}

#[test]
fn descriptors_of_the_wrong_kind_are_named() {
    let (a, b) = message_pair();
    let mut command = command();
    let mappings = [(a, 3), (b, 4)].map(|(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    let output = command
        .fd_mappings(mappings.into())
        .unwrap()
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("descriptor 3 is not a listening socket"),
        "{stderr}"
    );
}

#[test]
fn a_missing_descriptor_is_named() {
    let output = command().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("descriptor 3 (a listening socket) is not open"),
        "{stderr}"
    );
}

#[test]
fn reserved_context_ids_are_refused() {
    for cid in ["0", "2", "4294967295"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kata-mshv-vsock"));
        command.args(["--listen-fd=3", "--handover-fd=4", "--port=1024"]);
        let output = command.arg(format!("--guest-cid={cid}")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("is not in 3..4294967295"), "{stderr}");
    }
}
