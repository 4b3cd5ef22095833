//! The qemu driver: for hosts without hardware for the built-in VMM, and for
//! the Microsoft hypervisor.

mod args;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;

use async_trait::async_trait;
use probe::Tsc;
use tokio::net::UnixStream;
use vmm_api::MachineConfig;

use super::{Console, Driver, Machine, MachineFds, StartError, Verdict};
use crate::jail::Rights;
use crate::process::{Process, Program, SpawnError};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Mshv,
    Tcg,
}

impl Accelerator {
    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Mshv => "mshv",
            Self::Tcg => "tcg",
        }
    }
}

/// QEMU at a path, with an accelerator.
pub(crate) struct Qemu {
    path: PathBuf,
    accelerator: Accelerator,
    tsc: Tsc,
}

impl Qemu {
    pub(crate) fn new(path: PathBuf, accelerator: Accelerator) -> Self {
        Self {
            path,
            accelerator,
            tsc: Tsc::begin(),
        }
    }
}

#[async_trait]
impl Driver for Qemu {
    fn name(&self) -> String {
        format!("qemu ({})", self.accelerator.name())
    }

    async fn start(&self, config: &MachineConfig, fds: MachineFds) -> Result<Machine, StartError> {
        let program = Program {
            name: "qemu",
            path: &self.path,
            key: "qemu.path",
            // All that it uses it inherits open.
            rights: Rights::None,
        };
        let failed = |source| SpawnError::Start {
            name: "qemu",
            program: self.path.clone(),
            source,
        };
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let console = UnixStream::from_std(ours).map_err(failed)?;

        let kernel = File::open(&config.kernel).map_err(failed)?;
        let initramfs = File::open(&config.initramfs).map_err(failed)?;

        let mut inherited: Vec<OwnedFd> = vec![theirs.into(), fds.vsock, fds.fs];
        inherited.extend([kernel.into(), initramfs.into()]);
        inherited.extend(fds.taps);
        let args = args::command_line(config, self.accelerator, self.tsc.khz());
        let process = Process::spawn(&program, &args, inherited)?;
        Ok(Machine {
            process,
            console: Console::read(console),
            verdict: Verdict::none(),
        })
    }
}
