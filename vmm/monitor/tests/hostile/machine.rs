//! A machine with such a guest, and what its process takes from the host.

use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt,
    socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use vmm_api::{
    Answer, CONTROL_FD, Descriptor, Event, MAX_MESSAGE, MachineConfig, Message, Request, Stats,
    StopReason,
};

use crate::image;
use crate::script::Script;
use crate::wire;

/// Longer than anything takes in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(40);

/// Guest memory, MiB.
pub(crate) const MEMORY_MIB: u64 = 64;
/// What can come to it, MiB.
pub(crate) const LATE_MIB: u64 = 64;

pub(crate) struct Machine {
    vmm: Child,
    control: OwnedFd,
    console: UnixStream,
    /// What came from it and nobody waited for yet.
    said: Vec<u8>,
    log: File,
}

impl Machine {
    /// Starts one whose guest does as `script` says.
    pub(crate) fn start(script: &Script) -> anyhow::Result<Self> {
        wire::cut_off()?;
        let (control, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let seconds = i64::try_from(PATIENCE.as_secs())?;
        setsockopt(&control, sockopt::ReceiveTimeout, &TimeVal::new(seconds, 0))?;
        let (console, output) = UnixStream::pair()?;
        console.set_read_timeout(Some(PATIENCE))?;
        let log = file("log", b"")?;
        let mut command = Command::new(lab::path("kata-mshv-vmm"));
        command.stderr(log.try_clone()?);
        command.fd_mappings(vec![FdMapping {
            parent_fd: theirs,
            child_fd: CONTROL_FD,
        }])?;
        let machine = Self {
            vmm: command.spawn().context("start kata-mshv-vmm")?,
            control,
            console,
            said: Vec::new(),
            log,
        };
        // It holds the other end of the socket.
        drop(command);
        machine.send_start(script, output.into())?;
        match machine.message()? {
            Message::Answer(Answer::Done) => Ok(machine),
            other => bail!("{other:?} instead of a start"),
        }
    }

    /// `hvc0` goes where the serial port goes.
    fn send_start(&self, script: &Script, console: OwnedFd) -> anyhow::Result<()> {
        let fds: [OwnedFd; 8] = [
            device("/dev/kvm")?,
            file("kernel", &image::elf(script))?.into(),
            file("initramfs", b"")?.into(),
            console.try_clone()?,
            console,
            wire::tap("tap0")?,
            wire::tap("tap1")?,
            device("/dev/vhost-net")?,
        ];
        wire::flood()?;
        let request = Request::Start {
            machine: MachineConfig {
                vcpus: 1,
                max_vcpus: 0,
                max_memory_mib: MEMORY_MIB + LATE_MIB,
                memory_mib: MEMORY_MIB,
                kernel: "kernel".into(),
                initramfs: "initramfs".into(),
                kernel_parameters: String::new(),
                guest_cid: 3,
                share_tag: "share".into(),
                nets: [false, true].map(wire::config).into(),
                disks: Vec::new(),
            },
            descriptors: vec![
                Descriptor::Kvm,
                Descriptor::Kernel,
                Descriptor::Initramfs,
                Descriptor::Console,
                Descriptor::VirtioConsole,
                Descriptor::Tap,
                Descriptor::Tap,
                Descriptor::VhostNet,
            ],
        };
        self.send(&request, &fds)
    }

    fn send(&self, request: &Request, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let bytes = serde_json::to_vec(request)?;
        let (socket, iov) = (self.control.as_raw_fd(), [IoSlice::new(&bytes)]);
        sendmsg::<()>(socket, &iov, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    fn message(&self) -> anyhow::Result<Message> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let length = recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty())
            .with_context(|| format!("no message; the log: {:?}", self.log_text()))?;
        let bytes = bytes.get(..length).unwrap_or_default();
        ensure!(!bytes.is_empty(), "hung up; the log: {:?}", self.log_text());
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Waits for `word` on the console, and forgets what came up to it.
    pub(crate) fn says(&mut self, word: &str) -> anyhow::Result<()> {
        let mut portion = [0; 4096];
        loop {
            let mut parts = self.said.windows(word.len());
            if let Some(at) = parts.position(|part| part == word.as_bytes()) {
                self.said.drain(..at + word.len());
                return Ok(());
            }
            // What is behind us can be forgotten, but for a part of the word.
            let surplus = self.said.len().saturating_sub(word.len());
            self.said.drain(..surplus);
            let read = self.console.read(&mut portion).context("the console")?;
            if read == 0 {
                bail!("ended instead of {word:?}: {:?}", self.reason()?);
            }
            self.said.extend(portion.get(..read).unwrap_or_default());
        }
    }

    /// Waits for the end.
    pub(crate) fn reason(&self) -> anyhow::Result<StopReason> {
        match self.message()? {
            Message::Event(Event::Stopped { reason }) => Ok(reason),
            other @ Message::Answer(_) => bail!("{other:?} instead of the end"),
        }
    }

    pub(crate) fn request(&self, request: &Request) -> anyhow::Result<Answer> {
        self.send(request, &[])?;
        match self.message()? {
            Message::Answer(answer) => Ok(answer),
            other @ Message::Event(_) => bail!("{other:?} instead of an answer"),
        }
    }

    /// What it has done so far.
    pub(crate) fn stats(&self) -> anyhow::Result<Stats> {
        match self.request(&Request::Stats)? {
            Answer::Stats(stats) => Ok(stats),
            other => bail!("{other:?} instead of counts"),
        }
    }

    /// Memory of the process without the guest's, KiB (proc_pid_smaps(5), Pss).
    pub(crate) fn own_memory(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/smaps", self.vmm.id());
        let text = std::fs::read_to_string(&path).context(path)?;
        let (mut total, mut is_guests) = (0, false);
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["Pss:", kib, "kB"] if !is_guests => total += kib.parse::<u64>()?,
                [range, rights, ..] if range.contains('-') && rights.len() == 4 => {
                    is_guests = line.contains("guest-memory");
                }
                _ => {}
            }
        }
        Ok(total)
    }

    /// Descriptors that the process has open.
    pub(crate) fn open_files(&self) -> anyhow::Result<usize> {
        let path = format!("/proc/{}/fd", self.vmm.id());
        Ok(std::fs::read_dir(&path).context(path)?.count())
    }

    pub(crate) fn log_text(&self) -> String {
        let mut text = String::new();
        let mut log = &self.log;
        let read = log.rewind().and_then(|()| log.read_to_string(&mut text));
        read.map_or_else(|error| error.to_string(), |_| text)
    }

    /// Waits until the process is gone.
    pub(crate) fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.vmm.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the VMM did not end")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, as it should.
        let _ = self.vmm.kill();
        let _ = self.vmm.wait();
    }
}

fn device(path: &str) -> anyhow::Result<OwnedFd> {
    let opened = File::options().read(true).write(true).open(path);
    Ok(opened.context(path.to_owned())?.into())
}

/// A file of that content, which nobody else can find.
fn file(name: &str, bytes: &[u8]) -> anyhow::Result<File> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
