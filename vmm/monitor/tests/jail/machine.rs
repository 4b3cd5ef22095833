//! A machine with an idle guest, started as the shim starts one.

use std::fs::{self, File};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use vmm_api::{Answer, CONTROL_FD, Descriptor, MAX_MESSAGE, MachineConfig, Message, Request};

use crate::idle;

/// Processors of the machine.
pub(crate) const VCPUS: u32 = 2;
/// That it can have.
pub(crate) const MOST_VCPUS: u32 = 32;

/// Whom its process becomes.
pub(crate) const USER: u32 = 64_000;
pub(crate) const GROUP: u32 = 64_001;

pub(crate) struct Machine {
    pub(crate) vmm: Child,
    control: OwnedFd,
}

impl Machine {
    /// Runs when this returns. `leaked` is open in the VMM at its start.
    pub(crate) fn start(leaked: Vec<OwnedFd>) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (control, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let mut command = vmm(&["--user", &format!("{USER}:{GROUP}")]);
        let fds = [theirs].into_iter().chain(leaked);
        let mappings = (CONTROL_FD..)
            .zip(fds)
            .map(|(child_fd, parent_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        command.fd_mappings(mappings.collect()).unwrap();
        let vmm = command.spawn().unwrap();
        // It holds the other end of the socket.
        drop(command);
        let machine = Self { vmm, control };
        machine.send_start();
        assert_eq!(machine.message(), Message::Answer(Answer::Done));
        // By then every thread has come as far as its loop.
        machine.ask(&Request::Pause);
        machine.ask(&Request::Resume);
        machine
    }

    pub(crate) fn ask(&self, request: &Request) {
        self.send(request, &[]);
        assert_eq!(self.message(), Message::Answer(Answer::Done));
    }

    fn send_start(&self) {
        let kvm = File::options().read(true).write(true).open("/dev/kvm");
        let initramfs = tempfile::tempfile().unwrap();
        let fds = [kvm.unwrap(), idle::kernel().unwrap(), initramfs];
        let numbers = fds.each_ref().map(AsRawFd::as_raw_fd);
        let request = Request::Start {
            machine: MachineConfig {
                vcpus: VCPUS,
                max_vcpus: MOST_VCPUS,
                max_memory_mib: 0,
                memory_mib: 128,
                kernel: "/kernel".into(),
                initramfs: "/initramfs".into(),
                kernel_parameters: String::new(),
                guest_cid: 3,
                share_tag: String::new(),
                nets: Vec::new(),
                disks: Vec::new(),
            },
            descriptors: vec![Descriptor::Kvm, Descriptor::Kernel, Descriptor::Initramfs],
        };
        self.send(&request, &numbers);
    }

    pub(crate) fn send(&self, request: &Request, fds: &[RawFd]) {
        let text = serde_json::to_vec(request).unwrap();
        let rights = [ControlMessage::ScmRights(fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        let socket = self.control.as_raw_fd();
        sendmsg::<()>(socket, &[IoSlice::new(&text)], rights, flags, None).unwrap();
    }

    pub(crate) fn message(&self) -> Message {
        let mut bytes = vec![0; MAX_MESSAGE];
        let length = recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty()).unwrap();
        serde_json::from_slice(&bytes[..length]).unwrap()
    }

    /// Below `/proc` of its process.
    pub(crate) fn proc(&self, path: &str) -> String {
        format!("/proc/{}/{path}", self.vmm.id())
    }

    /// Ids of its threads: the main one, then processors. KVM has one in it
    /// that never leaves the kernel.
    pub(crate) fn threads(&self) -> Vec<i32> {
        let names = fs::read_dir(self.proc("task")).unwrap();
        let ids = names.map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        });
        let mut ids: Vec<i32> = ids.filter(|id| !self.is_of_kvm(*id)).collect();
        ids.sort_unstable();
        ids
    }

    fn is_of_kvm(&self, thread: i32) -> bool {
        let name = fs::read_to_string(self.proc(&format!("task/{thread}/comm")));
        name.unwrap().starts_with("kvm-")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, as some should.
        let _ = self.vmm.kill();
        let _ = self.vmm.wait();
    }
}

/// The VMM's command with `arguments`.
pub(crate) fn vmm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kata-mshv-vmm"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}
