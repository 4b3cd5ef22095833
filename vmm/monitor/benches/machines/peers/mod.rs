//! The other VMMs.

mod arguments;

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::ports;
use std::os::fd::AsFd;

use crate::agent::Agent;
use crate::contest::{Boot, Images};
use crate::device::Device;
use crate::{memory, tiny};

/// What they are called, as files too.
pub(crate) const NAMES: [&str; 2] = ["firecracker", "cloud-hypervisor"];

/// Longer than anything takes in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
pub(crate) enum Peer {
    Firecracker,
    CloudHypervisor,
    /// With the devices of a pod's machine: a share served by our file server,
    /// which takes memory that can be shared, and a balloon.
    CloudHypervisorForPods,
}

/// Those that are there.
pub(crate) fn present() -> Vec<Peer> {
    let known = [
        Peer::Firecracker,
        Peer::CloudHypervisor,
        Peer::CloudHypervisorForPods,
    ];
    known.into_iter().filter(|peer| peer.is_there()).collect()
}

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::CloudHypervisorForPods => "  with share",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor | Self::CloudHypervisorForPods => "cloud-hypervisor",
        }
    }

    fn is_there(self) -> bool {
        lab::find(self.file()).is_some()
    }

    /// Linux with a vsock device, until the agent has said hello.
    pub(crate) fn boot(self, images: &Images, memory_mib: u64) -> anyhow::Result<Boot> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("vsock");
        // Where either has the guest's connections to a port of the host's.
        let listener = UnixListener::bind(format!("{}_{}", socket.display(), ports::CONTROL))?;
        let began = Instant::now();
        let share = folder.path().join("fs");
        let _server = match self {
            Self::CloudHypervisorForPods => Some(Device::fs_at(folder.path(), &share)?),
            Self::Firecracker | Self::CloudHypervisor => None,
        };
        let mut running = self.start(folder.path(), images, memory_mib, Some(&socket))?;
        let stream = accept(&listener).with_context(|| running.said());
        let _agent = Agent::connect(stream?)?;
        Ok(Boot {
            everything: began.elapsed(),
            hello: running.began.elapsed(),
            own_kib: memory::own(running.process.id(), memory_mib)?,
        })
    }

    /// Exec to the first line of the tiny guest.
    pub(crate) fn tiny(self, images: &Images) -> anyhow::Result<Duration> {
        let folder = tempfile::tempdir()?;
        let mut running = self.start(folder.path(), images, 256, None)?;
        running.wait_for(tiny::LINE)?;
        Ok(running.began.elapsed())
    }

    fn start(
        self,
        folder: &Path,
        images: &Images,
        memory_mib: u64,
        vsock: Option<&Path>,
    ) -> anyhow::Result<Running> {
        let mut command = Command::new(lab::path(self.file()));
        match self {
            Self::Firecracker => {
                arguments::firecracker(&mut command, folder, images, memory_mib, vsock)?;
            }
            Self::CloudHypervisor => {
                arguments::cloud_hypervisor(&mut command, images, memory_mib, vsock, false);
            }
            Self::CloudHypervisorForPods => {
                arguments::cloud_hypervisor(&mut command, images, memory_mib, vsock, true);
                arguments::for_pods(&mut command, folder);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let began = Instant::now();
        let mut process = command
            .spawn()
            .with_context(|| format!("start {}", self.name()))?;
        let console = process.stdout.take().context("its output")?;
        Ok(Running {
            process,
            console,
            began,
        })
    }
}

/// Dropped, it is gone.
struct Running {
    process: Child,
    /// The guest's console, with what the VMM itself says.
    console: ChildStdout,
    began: Instant,
}

impl Running {
    fn wait_for(&mut self, wanted: &[u8]) -> anyhow::Result<()> {
        let mut said = Vec::new();
        while !said.windows(wanted.len()).any(|window| window == wanted) {
            let mut chunk = [0; 512];
            let length = self.console.read(&mut chunk)?;
            let chunk = chunk.get(..length).unwrap_or_default();
            ensure!(
                !chunk.is_empty(),
                "it ended, saying {:?}",
                String::from_utf8_lossy(&said)
            );
            said.extend(chunk);
        }
        Ok(())
    }

    /// All that it has said, after its end.
    fn said(&mut self) -> String {
        let _ = self.process.kill();
        let mut said = String::new();
        let _ = self.console.read_to_string(&mut said);
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn accept(listener: &UnixListener) -> anyhow::Result<UnixStream> {
    let mut source = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut source, PollTimeout::try_from(PATIENCE)?)? == 0 {
        bail!("the guest did not call within {PATIENCE:?}");
    }
    Ok(listener.accept()?.0)
}
