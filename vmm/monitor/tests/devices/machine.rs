//! A machine without device processes, and what its guest says on `hvc0`.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use vmm_api::{
    Answer, CONTROL_FD, Descriptor, DiskConfig, Event, MAX_MESSAGE, MachineConfig, Message,
    NetConfig, Pluggable, Request, StopReason,
};

use crate::{archive, guest};

/// Longer than anything takes in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(40);

/// What machines are made of.
pub(crate) fn suite() -> lab::Suite {
    lab::Suite::new()
        .file("kata-mshv-vmm", env!("CARGO_BIN_EXE_kata-mshv-vmm"))
        .file(
            "vmlinux",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guest/vmlinux"),
        )
}

/// Guest memory, MiB.
pub(crate) const MEMORY_MIB: u64 = 256;

/// What a machine has from its start.
#[derive(Default)]
pub(crate) struct Devices {
    pub(crate) nets: Vec<Net>,
    pub(crate) disks: Vec<(DiskConfig, OwnedFd)>,
    /// Memory that can come later, MiB.
    pub(crate) late_mib: u64,
    /// Processors beside the first.
    pub(crate) more_vcpus: u32,
    /// For the guest's kernel, or its init.
    pub(crate) parameters: &'static str,
}

/// An interface, and what it is made of.
pub(crate) struct Net {
    pub(crate) config: NetConfig,
    pub(crate) taps: Vec<OwnedFd>,
    /// Of the host's kernel, if that moves the packets.
    pub(crate) vhosts: Vec<OwnedFd>,
}

/// A thread of the VMM's.
#[derive(Clone, Copy)]
pub(crate) enum Thread {
    /// Serves its devices.
    Main,
    /// The host kernel's, which moves packets.
    Vhost,
}

pub(crate) struct Machine {
    vmm: Child,
    control: OwnedFd,
    words: BufReader<UnixStream>,
}

impl Machine {
    /// Starts one whose guest runs `case`, with these devices.
    pub(crate) fn start(case: &str, devices: Devices) -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let (words, output) = UnixStream::pair()?;
        words.set_read_timeout(Some(PATIENCE))?;
        let mut command = Command::new(lab::path("kata-mshv-vmm"));
        command.fd_mappings(vec![FdMapping {
            parent_fd: theirs,
            child_fd: CONTROL_FD,
        }])?;
        let machine = Self {
            vmm: command.spawn().context("start kata-mshv-vmm")?,
            control,
            words: BufReader::new(words),
        };
        // It holds the other end of the socket.
        drop(command);
        machine.send_start(case, devices, output.into())?;
        match machine.message()? {
            Message::Answer(Answer::Done) => Ok(machine),
            other => bail!("{other:?} instead of a start"),
        }
    }

    fn send_start(&self, case: &str, devices: Devices, output: OwnedFd) -> anyhow::Result<()> {
        let kernel = lab::path("vmlinux");
        let mut descriptors = vec![
            Descriptor::Kvm,
            Descriptor::Kernel,
            Descriptor::Initramfs,
            Descriptor::VirtioConsole,
        ];
        let kvm = File::options().read(true).write(true).open("/dev/kvm")?;
        let mut fds = vec![
            kvm.into(),
            File::open(&kernel)?.into(),
            initramfs()?,
            output,
        ];
        let mut nets = Vec::new();
        for net in devices.nets {
            descriptors.extend(net.taps.iter().map(|_| Descriptor::Tap));
            descriptors.extend(net.vhosts.iter().map(|_| Descriptor::VhostNet));
            fds.extend(net.taps.into_iter().chain(net.vhosts));
            nets.push(net.config);
        }
        let (disks, backings): (Vec<_>, Vec<_>) = devices.disks.into_iter().unzip();
        descriptors.extend(disks.iter().map(|_| Descriptor::Disk));
        fds.extend(backings);
        let machine = MachineConfig {
            vcpus: 1 + devices.more_vcpus,
            max_vcpus: 0,
            memory_mib: MEMORY_MIB,
            max_memory_mib: MEMORY_MIB + devices.late_mib,
            kernel,
            initramfs: "/init".into(),
            kernel_parameters: format!("{}={case} {}", guest::MARK, devices.parameters),
            guest_cid: 3,
            share_tag: String::new(),
            nets,
            disks,
        };
        let request = Request::Start {
            machine,
            descriptors,
        };
        self.send(&request, &fds)
    }

    fn send(&self, request: &Request, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let text = serde_json::to_vec(request)?;
        sendmsg::<()>(
            self.control.as_raw_fd(),
            &[IoSlice::new(&text)],
            &[ControlMessage::ScmRights(&numbers)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }

    /// Asks; an answer that is a refusal is an error.
    pub(crate) fn ask(&self, request: &Request, fds: &[OwnedFd]) -> anyhow::Result<Answer> {
        self.send(request, fds)?;
        match self.message()? {
            Message::Answer(Answer::Refused { why }) => bail!("{why}"),
            Message::Answer(answer) => Ok(answer),
            other @ Message::Event(_) => bail!("{other:?} instead of an answer"),
        }
    }

    /// Plugs a device in. The slot's name.
    pub(crate) fn attach(&self, device: Pluggable, fd: OwnedFd) -> anyhow::Result<String> {
        self.attach_of(device, &[fd])
    }

    /// The same with an interface.
    pub(crate) fn attach_net(&self, net: Net) -> anyhow::Result<String> {
        let fds: Vec<_> = net.taps.into_iter().chain(net.vhosts).collect();
        self.attach_of(Pluggable::Net(net.config), &fds)
    }

    fn attach_of(&self, device: Pluggable, fds: &[OwnedFd]) -> anyhow::Result<String> {
        match self.ask(&Request::Attach { device }, fds)? {
            Answer::Attached { slot } => Ok(slot),
            other => bail!("{other:?}"),
        }
    }

    /// Takes it out.
    pub(crate) fn detach(&self, slot: &str) -> anyhow::Result<()> {
        let slot = slot.to_owned();
        let answer = self.ask(&Request::Detach { slot }, &[])?;
        ensure!(answer == Answer::Done, "{answer:?}");
        Ok(())
    }

    /// What the guest says next.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.words.read_line(&mut line).context("wait for a word")?;
        // A terminal's line ends.
        let line = line.trim_end().to_owned();
        println!("guest: {line}");
        ensure!(!line.starts_with("failed"), "in the guest: {line}");
        Ok(line)
    }

    /// How often each thread of the VMM's of that name, or the main one, has waited
    /// for something (proc_pid_status(5)).
    pub(crate) fn waits(&self, thread: Thread) -> anyhow::Result<Vec<u64>> {
        let vmm = self.vmm.id();
        let mut waits = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{vmm}/task"))? {
            let folder = task?.path();
            let name = std::fs::read_to_string(folder.join("comm"))?;
            let is_it = match thread {
                Thread::Main => folder.ends_with(vmm.to_string()),
                Thread::Vhost => name.trim() == format!("vhost-{vmm}"),
            };
            if is_it {
                let status = std::fs::read_to_string(folder.join("status"))?;
                let mut lines = status.lines();
                let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
                waits.push(count.context("no count")?.trim().parse()?);
            }
        }
        Ok(waits)
    }

    /// How many descriptors the VMM has.
    pub(crate) fn descriptors(&self) -> anyhow::Result<usize> {
        let folder = format!("/proc/{}/fd", self.vmm.id());
        Ok(std::fs::read_dir(folder)?.count())
    }

    /// Bytes of guest memory that the host holds.
    pub(crate) fn memory_taken(&self) -> anyhow::Result<u64> {
        let folder = format!("/proc/{}/fd", self.vmm.id());
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let target = std::fs::read_link(&path)?;
            if target.to_string_lossy().contains("memfd:guest-memory") {
                let metadata = std::fs::metadata(&path)?;
                return Ok(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
            }
        }
        bail!("the VMM has no guest memory")
    }

    /// The guest ends itself when it is done.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let ended = self.message()?;
        let expected = Message::Event(Event::Stopped {
            reason: StopReason::Rebooted,
        });
        ensure!(ended == expected, "{ended:?}");
        let status = self.vmm.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    fn message(&self) -> anyhow::Result<Message> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let length = recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        let message = bytes.get(..length).unwrap_or_default();
        ensure!(!message.is_empty(), "the VMM hung up");
        Ok(serde_json::from_slice(message)?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, as it should.
        let _ = self.vmm.kill();
        let _ = self.vmm.wait();
    }
}

/// This program as init.
fn initramfs() -> anyhow::Result<OwnedFd> {
    let own = std::fs::read("/proc/self/exe").context("read this program")?;
    let mut file = File::from(memfd_create("initramfs", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&archive::initramfs(&own))?;
    file.rewind()?;
    Ok(file.into())
}
