//! The virtual machine: what a driver starts, and what is known about it.

mod adjust;
mod built_in;
mod checksum;
mod console;
mod descriptors;
mod image;
mod qemu;
mod select;
mod verdict;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use vmm_api::MachineConfig;

use crate::process::{Process, SpawnError};

#[cfg(test)]
pub(crate) use adjust::Fixed;
pub(crate) use adjust::{Adjust, AdjustError};
pub(crate) use checksum::{ChecksumError, verify};
pub(crate) use console::Console;
pub(crate) use image::{ImageError, check_initramfs, check_kernel};
pub(crate) use select::{SelectError, select};
pub(crate) use verdict::Verdict;

/// Why a driver could not start a machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("open {} for the guest", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("QEMU takes disks while it runs, not at its start")]
    Disks,
    #[error("tell the VMM what to run")]
    Control {
        #[source]
        source: io::Error,
    },
}

/// Starts machines. One implementation per virtual machine monitor.
#[async_trait]
pub(crate) trait Driver: Send + Sync {
    /// How `kata-mshv ps` shows it: `qemu (tcg)`.
    fn name(&self) -> String;

    /// MiB of the host's memory that a pod takes beside its containers: all its
    /// processes, and the guest's kernel and agent.
    fn overhead_mib(&self) -> u32;

    /// Starts a machine. It runs when this returns; whether its kernel does
    /// is told by the agent's connection, or by the machine's end.
    async fn start(&self, config: &MachineConfig, fds: MachineFds) -> Result<Machine, StartError>;
}

/// The file descriptors that belong to a [`MachineConfig`].
pub(crate) struct MachineFds {
    /// Connected to the vsock device's vhost-user socket.
    pub(crate) vsock: OwnedFd,
    /// Connected to the virtio-fs device's vhost-user socket.
    pub(crate) fs: OwnedFd,
    /// One tap per entry of `MachineConfig::nets`.
    pub(crate) taps: Vec<OwnedFd>,
}

/// A machine that was started. Dropped, it is gone.
pub(crate) struct Machine {
    pub(crate) process: Process,
    pub(crate) console: Console,
    /// What the VMM itself says of the end.
    pub(crate) verdict: Verdict,
    /// What can be changed of it.
    pub(crate) adjust: Box<dyn Adjust>,
}

impl Machine {
    /// Waits for the machine's end and says how it came and what the guest
    /// said last.
    pub(crate) async fn ended(&self) -> String {
        let status = self.process.ended().await;
        let how = match self.verdict.known().await {
            Some(verdict) => verdict,
            None => self.process.obituary(status),
        };
        format!("{how}; {}", self.console.last_words())
    }
}
