//! The qemu driver: for hosts without hardware for the built-in VMM, and for
//! the Microsoft hypervisor.

mod adjust;
mod args;
mod qmp;

use std::fs::File;
use std::io;
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
use adjust::Monitor;
use qmp::Qmp;
pub(crate) use qmp::QmpError;

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
    /// Disks that can come to a running machine.
    disk_ports: u32,
    overhead_mib: u32,
    tsc: Tsc,
}

impl Qemu {
    pub(crate) fn new(path: PathBuf, accelerator: Accelerator, config: &config::Qemu) -> Self {
        Self {
            path,
            accelerator,
            disk_ports: config.disk_ports,
            overhead_mib: config.overhead_mib,
            tsc: Tsc::begin(),
        }
    }
}

#[async_trait]
impl Driver for Qemu {
    fn name(&self) -> String {
        format!("qemu ({})", self.accelerator.name())
    }

    fn overhead_mib(&self) -> u32 {
        self.overhead_mib
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
        if !config.disks.is_empty() {
            return Err(StartError::Disks);
        }
        let (console, output) = socket_pair().map_err(failed)?;
        let (control, monitor) = socket_pair().map_err(failed)?;

        let kernel = File::open(&config.kernel).map_err(failed)?;
        let initramfs = File::open(&config.initramfs).map_err(failed)?;

        let mut inherited: Vec<OwnedFd> = vec![output, fds.vsock, fds.fs];
        inherited.extend([kernel.into(), initramfs.into(), monitor]);
        inherited.extend(fds.taps);
        let ports = self.disk_ports;
        let args = args::command_line(config, self.accelerator, self.tsc.khz(), ports);
        let process = Process::spawn(&program, &args, inherited)?;
        let ports = usize::try_from(ports).unwrap_or(0);
        let monitor = Monitor::new(Qmp::new(control), config.memory_mib, ports);
        Ok(Machine {
            process,
            console: Console::read(console),
            verdict: Verdict::none(),
            adjust: Box::new(monitor),
        })
    }
}

/// Our end, and QEMU's.
fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
