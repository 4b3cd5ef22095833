//! Further processes of a running container.

use std::sync::Arc;
use std::time::Duration;

use protocol::Id;
use protocol::agent::ExecProcessRequest;
use tokio::sync::{oneshot, watch};

use super::birth::Birth;
use super::{Action, Container, Result, paths};
use crate::error::AgentError;
use crate::helper::{self, Task};
use crate::process::Process;
use crate::reaper::Exit;
use crate::registry::{Entry, Registry};
use crate::signal::Signal;

/// How long the end of a container waits for its execs', which are dead or
/// dying then.
const PATIENCE: Duration = Duration::from_secs(5);

/// The execs of a container.
#[derive(Default)]
pub(super) struct Execs {
    processes: Registry<Process>,
    /// How many have not been told to have ended.
    running: watch::Sender<usize>,
}

impl Execs {
    /// Waits until the host has been told of the end of every exec.
    pub(super) async fn ended(&self) {
        let mut running = self.running.subscribe();
        // The sender is in `self`; one that takes longer is told of later.
        let _ = tokio::time::timeout(PATIENCE, running.wait_for(|count| *count == 0)).await;
    }
}

impl Container {
    /// Starts the process of `request`; returns its number when its program runs.
    pub(crate) async fn exec(self: Arc<Self>, id: Id, request: ExecProcessRequest) -> Result<u32> {
        self.after(Action::Exec)?;
        let exists = || AgentError::ExecExists {
            container: self.id.clone(),
            exec: id.clone(),
        };
        let reservation = self.execs.processes.reserve(&id).ok_or_else(exists)?;
        let birth = self.give_birth(&id, &request).await?;
        birth.launch.executed().await?;
        let process = Arc::new(birth.process);
        reservation.fill(Arc::clone(&process));
        self.execs.running.send_modify(|count| *count += 1);
        let number = process.pid().as_raw_pid().unsigned_abs();
        tokio::spawn(Arc::clone(&self).watch_exec(id, process, birth.exit));
        Ok(number)
    }

    async fn give_birth(&self, id: &Id, request: &ExecProcessRequest) -> Result<Birth> {
        let path = paths::process(&self.id, id);
        std::fs::write(&path, &request.process)
            .map_err(|error| AgentError::Io("write the process's description", error))?;
        let init = self.process.handle()?;
        let task = |console| {
            Task::Exec(helper::Exec {
                container: self.id.to_string(),
                process: path,
                init_pid: self.process.pid().as_raw_pid(),
                console,
            })
        };
        Ok(Birth::give(task, &request.stdio, Some(init), &self.services).await?)
    }

    async fn watch_exec(
        self: Arc<Self>,
        id: Id,
        process: Arc<Process>,
        exit: oneshot::Receiver<Exit>,
    ) {
        // The reaper lives as long as the agent.
        let Ok(exit) = exit.await else { return };
        process.ended(exit);
        process.streams().flush().await;
        self.services.events.exited(&self.id, Some(&id), exit);
        self.execs.running.send_modify(|count| *count -= 1);
    }

    /// Forgets an exec that has ended.
    pub(crate) fn delete_exec(&self, id: &Id) -> Result<()> {
        if !self.exec_process(id)?.has_ended() {
            return Err(AgentError::StillRunning {
                container: self.id.clone(),
                exec: id.clone(),
            });
        }
        self.execs.processes.remove(id);
        Ok(())
    }

    pub(crate) fn signal_exec(&self, id: &Id, signal: Signal) -> Result<()> {
        self.exec_process(id)?.signal(signal)
    }

    pub(crate) fn resize_exec(&self, id: &Id, columns: u16, rows: u16) -> Result<()> {
        self.exec_process(id)?.resize(columns, rows)
    }

    fn exec_process(&self, id: &Id) -> Result<Arc<Process>> {
        match self.execs.processes.get(id) {
            Entry::Present(process) => Ok(process),
            Entry::Absent | Entry::Reserved => Err(AgentError::NoExec {
                container: self.id.clone(),
                exec: id.clone(),
            }),
        }
    }
}
