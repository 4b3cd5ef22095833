//! Questions, and what changes nothing but a process's streams.

use protocol::agent::{ContainerStatsResponse, ResizeTerminalRequest};
use protocol::{Code, Failure};

use super::lookup::Target;
use super::state::State;
use super::{Exit, Pod};
use crate::stdio::StdioPaths;

/// A process as containerd asks for it.
pub(crate) struct Snapshot {
    pub(crate) bundle: String,
    pub(crate) pid: u32,
    pub(crate) state: State,
    pub(crate) stdio: StdioPaths,
    pub(crate) exit: Option<Exit>,
}

impl Pod {
    /// What is known of a process.
    pub(crate) fn snapshot(&self, target: &Target) -> Result<Snapshot, Failure> {
        let mut inner = self.lock();
        let bundle = inner.container(&target.id)?.bundle.clone();
        let process = inner.process(target)?;
        Ok(Snapshot {
            bundle,
            pid: process.pid,
            state: process.state(),
            stdio: process.paths.clone(),
            exit: process.exit(),
        })
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait(&self, target: &Target) -> Result<Exit, Failure> {
        let mut exit = self.with_process(target, |process| process.watch_exit())?;
        let gone = || Failure::new(Code::NotFound, "the process was deleted");
        let exit = exit.wait_for(Option::is_some).await.map_err(|_| gone())?;
        exit.ok_or_else(gone)
    }

    /// Pids of a container's processes, as the guest numbers them; of the
    /// sandbox, the VM's on the host.
    pub(crate) async fn pids(&self, target: &Target) -> Result<Vec<u32>, Failure> {
        let in_guest = self.in_guest(&target.id)?;
        let sandbox = self.sandbox()?;
        match in_guest {
            true => sandbox.agent.pids(target.id.as_str()).await,
            false => Ok(vec![sandbox.pid()]),
        }
    }

    /// A container's figures, or for the sandbox those of all of the pod on the
    /// host: `None` where that does not count them.
    pub(crate) async fn stats(
        &self,
        target: &Target,
    ) -> Result<Option<ContainerStatsResponse>, Failure> {
        let in_guest = self.in_guest(&target.id)?;
        let sandbox = self.sandbox()?;
        match in_guest {
            true => sandbox.agent.stats(target.id.as_str()).await.map(Some),
            false => Ok(sandbox.figures()),
        }
    }

    /// Host pid that stands for the pod, when there is a VM.
    pub(crate) fn vm_pid(&self) -> Option<u32> {
        self.sandbox().ok().map(|sandbox| sandbox.pid())
    }

    /// What is written down about the VM, JSON.
    pub(crate) fn record(&self) -> Option<String> {
        self.sandbox().ok()?.record()
    }

    /// containerd writes no more input.
    pub(crate) fn close_stdin(&self, target: &Target) -> Result<(), Failure> {
        self.with_process(target, |process| process.close_stdin())
    }

    /// The size of a process's terminal, characters.
    pub(crate) async fn resize(
        &self,
        target: &Target,
        columns: u32,
        rows: u32,
    ) -> Result<(), Failure> {
        if !self.in_guest(&target.id)? {
            return Ok(());
        }
        self.with_process(target, |_| ())?;
        let message = ResizeTerminalRequest {
            container_id: target.id.to_string(),
            exec_id: target.exec_id_or_empty(),
            columns,
            rows,
            ..Default::default()
        };
        self.sandbox()?.agent.resize(&message).await
    }
}
