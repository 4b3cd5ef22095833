//! The host processes of a VM, which live and die together.

use std::process::ExitStatus;
use std::time::Duration;

use vmm_api::Pids;

use crate::machine::Machine;
use crate::oom_score;
use crate::process::Process;

/// How long after a device the VMM may end to be the reason for it.
const SAME_DEATH: Duration = Duration::from_millis(300);

pub(super) struct Processes {
    pub(super) machine: Machine,
    pub(super) fs: Process,
    pub(super) vsock: Process,
}

impl Processes {
    /// Waits until one of them has ended, whichever it is: without it the pod
    /// cannot go on. Says which, and why.
    pub(super) async fn ended(&self) -> String {
        let device = tokio::select! {
            biased;
            end = self.machine.ended() => return end,
            status = self.fs.ended() => obituary(&self.fs, status),
            status = self.vsock.ended() => obituary(&self.vsock, status),
        };
        // A device ends when its VMM does: then the VMM is the news.
        let machine = tokio::time::timeout(SAME_DEATH, self.machine.ended()).await;
        machine.unwrap_or(device)
    }

    /// Ends all of them; they are reaped when this returns.
    pub(super) async fn kill(&self) {
        self.machine.process.kill().await;
        self.fs.kill().await;
        self.vsock.kill().await;
    }

    /// Gives them `score`, as far as the shim may.
    pub(super) fn set_oom_score(&self, score: i32) {
        for process in [&self.machine.process, &self.fs, &self.vsock] {
            if let Err(error) = oom_score::set(process.pid(), score) {
                let process = process.name();
                tracing::debug!(process, score, %error, "set oom_score_adj");
            }
        }
    }

    pub(super) fn pids(&self) -> Pids {
        Pids {
            shim: std::process::id(),
            vmm: self.machine.process.pid(),
            fs: self.fs.pid(),
            vsock: self.vsock.pid(),
        }
    }
}

fn obituary(device: &Process, status: ExitStatus) -> String {
    format!(
        "its device process {} ended: {}",
        device.name(),
        device.obituary(status)
    )
}
