//! The built-in driver: `kata-mshv-vmm`, our own VMM on `/dev/kvm`.

mod adjust;
mod control;
mod requests;
mod vhost;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::net::UnixStream;
use vmm_api::{Descriptor, MachineConfig};

use super::{Console, Driver, Machine, MachineFds, StartError};
use crate::jail::Rights;
use crate::process::{Process, Program, SpawnError};
use control::Control;
pub(crate) use requests::RequestError;
use vhost::{vhost_nets, with_vhost};

/// How it is called in texts.
const NAME: &str = "kata-mshv-vmm";

const KVM: &str = "/dev/kvm";

/// The VMM as configured.
pub(crate) struct BuiltIn {
    path: PathBuf,
    /// Whom it becomes, `UID:GID`.
    user: String,
    vhost_net: config::VhostNet,
    overhead_mib: u32,
}

impl BuiltIn {
    pub(crate) fn new(config: &config::BuiltIn) -> Self {
        Self {
            path: config.path.clone(),
            user: format!("{}:{}", config.uid, config.gid),
            vhost_net: config.vhost_net,
            overhead_mib: config.overhead_mib,
        }
    }
}

#[async_trait]
impl Driver for BuiltIn {
    fn name(&self) -> String {
        "built-in".to_owned()
    }

    fn overhead_mib(&self) -> u32 {
        self.overhead_mib
    }

    async fn start(&self, config: &MachineConfig, fds: MachineFds) -> Result<Machine, StartError> {
        let program = Program {
            name: NAME,
            path: &self.path,
            key: "built_in.path",
            // It takes them to get into its jail, where it has none.
            rights: Rights::Inherited,
        };
        let failed = |source| SpawnError::Start {
            name: NAME,
            program: self.path.clone(),
            source,
        };
        let (control, theirs) = Control::pair().map_err(failed)?;
        let process = Process::spawn(&program, &self.arguments(), vec![theirs])?;
        let (console, output) = console().map_err(failed)?;
        let vhosts = vhost_nets(self.vhost_net, fds.taps.len());
        let config = with_vhost(config, &vhosts);
        let descriptors = descriptors(&config, fds, vhosts, output)?;
        let adjust = Box::new(control.requests());
        let verdict = control
            .start(&config, descriptors)
            .await
            .map_err(|source| StartError::Control { source })?;
        Ok(Machine {
            process,
            console,
            verdict,
            adjust,
        })
    }
}

impl BuiltIn {
    fn arguments(&self) -> [String; 2] {
        ["--user".to_owned(), self.user.clone()]
    }
}

/// Our end of the guest's console, reading, and the VMM's.
fn console() -> io::Result<(Console, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let console = Console::read(UnixStream::from_std(ours)?);
    Ok((console, theirs.into()))
}

/// What the machine is made of, each with its meaning.
fn descriptors(
    config: &MachineConfig,
    fds: MachineFds,
    vhosts: Vec<OwnedFd>,
    console: OwnedFd,
) -> Result<Vec<(Descriptor, OwnedFd)>, StartError> {
    let mut all = vec![
        (Descriptor::Kvm, open(Path::new(KVM), true)?.into()),
        (Descriptor::Kernel, open(&config.kernel, false)?.into()),
        (
            Descriptor::Initramfs,
            open(&config.initramfs, false)?.into(),
        ),
        (Descriptor::Console, console),
        (Descriptor::Vsock, fds.vsock),
        (Descriptor::Fs, fds.fs),
    ];
    all.extend(fds.taps.into_iter().map(|tap| (Descriptor::Tap, tap)));
    all.extend(vhosts.into_iter().map(|fd| (Descriptor::VhostNet, fd)));
    Ok(all)
}

fn open(path: &Path, writable: bool) -> Result<File, StartError> {
    OpenOptions::new()
        .read(true)
        .write(writable)
        .open(path)
        .map_err(|source| StartError::Open {
            path: path.to_owned(),
            source,
        })
}
