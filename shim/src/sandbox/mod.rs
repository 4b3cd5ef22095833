//! A pod's VM and everything on the host that belongs to it.
//!
//! ```text
//! boot:  run dir → share → fs, vsock processes → network → machine
//!                                   agent's connection → hello → sandbox
//! stop:  agent syncs → machine → device processes → share → run dir
//! ```
//!
//! Every part is a guard that takes itself away when dropped; `stop` only
//! makes sure that it happens in order and is over when it returns.

mod boot;
mod plan;
mod run_dir;
mod timeline;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::agent::Agent;
use crate::machine::Machine;
use crate::process::Process;
use crate::share::Share;
use crate::stdio::Streams;

pub(crate) use boot::{BootError, boot};
pub(crate) use plan::{Plan, PlanError};
pub(crate) use run_dir::RunDir;

/// How long the guest may take to write back what it holds.
const SYNC_TIMEOUT: Duration = Duration::from_secs(3);

/// A running VM with its agent.
///
/// The order of the fields is the order in which they are taken away.
pub(crate) struct Sandbox {
    pub(crate) agent: Agent,
    pub(crate) streams: Streams,
    machine: Machine,
    fs: Process,
    vsock: Process,
    share: Mutex<Share>,
    run_dir: RunDir,
}

impl Sandbox {
    /// Host pid that stands for the pod: the VMM's.
    pub(crate) fn pid(&self) -> u32 {
        self.machine.process.pid()
    }

    /// What the guest may see of the host.
    pub(crate) fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one of the sandbox's processes has ended, whichever it is:
    /// without it the pod cannot go on. Says which, and why.
    pub(crate) async fn ended(&self) -> String {
        tokio::select! {
            end = self.machine.ended() => format!("the VM ended: {end}"),
            status = self.fs.ended() => device_ended(&self.fs, status),
            status = self.vsock.ended() => device_ended(&self.vsock, status),
        }
    }

    /// Ends the VM and takes away everything of it. Can be called again.
    pub(crate) async fn stop(&self) {
        tokio::select! {
            () = self.agent.shutdown(SYNC_TIMEOUT) => {}
            _ = self.machine.process.ended() => {}
        }
        self.machine.process.kill().await;
        self.fs.kill().await;
        self.vsock.kill().await;
        self.share().close();
        self.run_dir.remove();
    }
}

fn device_ended(device: &Process, status: std::process::ExitStatus) -> String {
    format!(
        "the device process {} ended: {}",
        device.name(),
        device.obituary(status)
    )
}
