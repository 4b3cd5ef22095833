//! A machine with its devices and the shim's side of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use protocol::{PROTOCOL_VERSION, ports};
use tempfile::TempDir;
use vmm_api::{
    Answer, Descriptor, DiskConfig, Event, MachineConfig, Message, Pluggable, Request, Stats,
    StopReason,
};

use crate::agent::Agent;
use crate::device::{self, Device};
use crate::socket;

/// Longer than anything takes in an emulated lab: 32 processors take 40 s on its one.
const PATIENCE: Duration = Duration::from_secs(150);

/// How a machine differs from the usual one.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) vcpus: u32,
    pub(crate) max_vcpus: u32,
    pub(crate) memory_mib: u64,
    /// 0: no more than at its start.
    pub(crate) max_memory_mib: u64,
    pub(crate) parameters: &'static str,
}

impl Shape {
    /// The paths in it are for the shim alone: files come as descriptors.
    pub(crate) fn config(self) -> MachineConfig {
        MachineConfig {
            vcpus: self.vcpus,
            max_vcpus: self.max_vcpus,
            max_memory_mib: self.max_memory_mib,
            memory_mib: self.memory_mib,
            kernel: "vmlinux".into(),
            initramfs: "initramfs.cpio".into(),
            kernel_parameters: self.parameters.to_owned(),
            guest_cid: 3,
            share_tag: "share".to_owned(),
            nets: Vec::new(),
            disks: Vec::new(),
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            vcpus: 1,
            max_vcpus: 0,
            memory_mib: 256,
            max_memory_mib: 0,
            parameters: "",
        }
    }
}

pub(crate) struct Machine {
    pub(crate) vmm: Child,
    pub(crate) began: Instant,
    control: Option<OwnedFd>,
    handover: OwnedFd,
    console: Arc<Mutex<Vec<u8>>>,
    fs: Device,
    vsock: Device,
    _folder: TempDir,
}

impl Machine {
    /// Starts everything; returns when the VMM says that the machine runs.
    pub(crate) fn start(shape: Shape) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let fs = Device::fs(folder.path())?;
        let (vsock, handover) = Device::vsock(folder.path())?;
        let (ours, theirs) = device::seqpacket()?;
        let (console, console_end) = UnixStream::pair()?;
        let began = Instant::now();
        let mut command = Command::new(lab::path("kata-mshv-vmm"));
        device::pass(&mut command, vec![theirs])?;
        let vmm = command.spawn().context("start kata-mshv-vmm")?;
        // The command holds the other end of the socket.
        drop(command);
        let mut machine = Self {
            vmm,
            began,
            control: Some(ours),
            handover,
            console: collect(console),
            fs,
            vsock,
            _folder: folder,
        };
        machine.send_start(shape, console_end.into())?;
        ensure!(machine.answer()? == Answer::Done, "the start was refused");
        Ok(machine)
    }

    fn send_start(&mut self, shape: Shape, console: OwnedFd) -> anyhow::Result<()> {
        let front_end = |device: &mut Device| device.front_end.take().context("used already");
        let fds = [
            kvm()?.into(),
            File::open(lab::path("vmlinux"))?.into(),
            File::open(lab::path("initramfs.cpio"))?.into(),
            console,
            front_end(&mut self.fs)?,
            front_end(&mut self.vsock)?,
        ];
        let descriptors = vec![
            Descriptor::Kvm,
            Descriptor::Kernel,
            Descriptor::Initramfs,
            Descriptor::Console,
            Descriptor::Fs,
            Descriptor::Vsock,
        ];
        let request = Request::Start {
            machine: shape.config(),
            descriptors,
        };
        socket::send(self.control()?, &serde_json::to_vec(&request)?, &fds)
    }

    /// Waits for the agent's call, and for its hello.
    pub(crate) fn agent_hello(&self) -> anyhow::Result<Agent> {
        let stream = self.dialled().with_context(|| self.last_words())?;
        let agent = Agent::connect(stream)?;
        let hello = &agent.hello;
        ensure!(hello.protocol_version == PROTOCOL_VERSION, "{hello:?}");
        Ok(agent)
    }

    /// The first connection of the guest's.
    pub(crate) fn dialled(&self) -> anyhow::Result<UnixStream> {
        let (message, fd) = socket::receive(&self.handover, PATIENCE)?;
        let port = message
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes));
        ensure!(port == Some(ports::CONTROL), "the guest dialled {port:?}");
        Ok(fd.context("a connection without a descriptor")?.into())
    }

    /// Asks, and returns the answer.
    pub(crate) fn request(&self, request: &Request) -> anyhow::Result<Answer> {
        socket::send(self.control()?, &serde_json::to_vec(request)?, &[])?;
        self.answer()
    }

    /// Puts a disk in. The slot's name.
    pub(crate) fn attach(&self, disk: DiskConfig, file: OwnedFd) -> anyhow::Result<String> {
        let device = Pluggable::Disk(disk);
        let request = serde_json::to_vec(&Request::Attach { device })?;
        socket::send(self.control()?, &request, &[file])?;
        match self.answer()? {
            Answer::Attached { slot } => Ok(slot),
            other => bail!("{other:?}"),
        }
    }

    pub(crate) fn stats(&self) -> anyhow::Result<Stats> {
        match self.request(&Request::Stats)? {
            Answer::Stats(stats) => Ok(stats),
            other => bail!("{other:?}"),
        }
    }

    fn answer(&self) -> anyhow::Result<Answer> {
        match self.message()? {
            Message::Answer(Answer::Refused { why }) => bail!("refused: {why}"),
            Message::Answer(answer) => Ok(answer),
            other @ Message::Event(_) => bail!("{other:?} instead of an answer"),
        }
    }

    /// Waits until the machine is over, and its process.
    pub(crate) fn stopped(&mut self) -> anyhow::Result<StopReason> {
        let message = self.message().with_context(|| self.last_words())?;
        let Message::Event(Event::Stopped { reason }) = message else {
            bail!("{message:?} instead of the end");
        };
        self.ended()?;
        Ok(reason)
    }

    /// Waits until all processes have ended.
    pub(crate) fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let status = wait(&mut self.vmm).context("the VMM did not end")?;
        wait(&mut self.vsock.process).context("the vsock device did not end")?;
        wait(&mut self.fs.process).context("the fs device did not end")?;
        Ok(status)
    }

    fn message(&self) -> anyhow::Result<Message> {
        let (bytes, _) = socket::receive(self.control()?, PATIENCE)?;
        ensure!(!bytes.is_empty(), "the VMM hung up");
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn control(&self) -> anyhow::Result<&OwnedFd> {
        self.control.as_ref().context("hung up already")
    }

    /// As a shim that dies.
    pub(crate) fn hang_up(&mut self) {
        self.control = None;
    }

    pub(crate) fn kill_fs(&mut self) -> anyhow::Result<()> {
        Ok(self.fs.process.kill()?)
    }

    pub(crate) fn console(&self) -> String {
        let bytes = self.console.lock().map(|bytes| bytes.clone());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    fn last_words(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let last = lines.get(lines.len().saturating_sub(12)..);
        format!(
            "the guest's last words: {}",
            last.unwrap_or_default().join(" | ")
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, as it should.
        let _ = self.vmm.kill();
        let _ = self.vmm.wait();
    }
}

/// The VMM cannot open it.
pub(crate) fn kvm() -> anyhow::Result<File> {
    let mut options = File::options();
    Ok(options.read(true).write(true).open("/dev/kvm")?)
}

fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("still there after {PATIENCE:?}")
}

fn collect(mut console: UnixStream) -> Arc<Mutex<Vec<u8>>> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let bytes = Arc::clone(&collected);
    std::thread::spawn(move || {
        let mut chunk = [0; 1024];
        while let Ok(length @ 1..) = console.read(&mut chunk) {
            if let (Ok(mut bytes), Some(chunk)) = (bytes.lock(), chunk.get(..length)) {
                bytes.extend(chunk);
            }
        }
    });
    collected
}
