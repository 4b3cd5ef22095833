//! Forgetting what has ended, and freeing what it held.

use std::time::Duration;

use protocol::agent::SignalProcessRequest;
use protocol::{Code, Failure};

use super::container::Container;
use super::lookup::Target;
use super::process::Process;
use super::state::{State, Step};
use super::{Exit, Pod};
use crate::containerd::Event;

/// How long output may still be on its way after the exit.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a created process may take to die unused.
const DEATH: Duration = Duration::from_secs(5);
const SIGKILL: u32 = 9;

/// What is left of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) pid: u32,
    pub(crate) exit: Exit,
}

impl Pod {
    /// Deletes a stopped process.
    pub(crate) async fn delete(&self, target: &Target) -> Result<Deleted, Failure> {
        self.with_process(target, |process| process.check(Step::Delete))??;
        match &target.exec_id {
            Some(_) => self.delete_exec(target).await,
            None => self.delete_container(target).await,
        }
    }

    async fn delete_exec(&self, target: &Target) -> Result<Deleted, Failure> {
        let (io, ran) =
            self.with_process(target, |p| (p.disconnect(), p.state() == State::Stopped))?;
        if let Some(io) = io {
            io.drain(DRAIN).await;
            // Without its VM there is nothing to forget in it.
            if let (true, Ok(sandbox)) = (ran, self.sandbox()) {
                ignore_unknown(
                    sandbox
                        .agent
                        .delete_process(target.id.as_str(), &target.exec_id_or_empty())
                        .await,
                )?;
            }
        }
        let mut inner = self.lock();
        let container = inner.container(&target.id)?;
        let exec = target
            .exec_id
            .as_ref()
            .and_then(|id| container.execs.remove(id));
        let exec = exec.ok_or_else(|| Failure::new(Code::NotFound, "exec does not exist"))?;
        Ok(self.told_deleted(target, &exec.process))
    }

    async fn delete_container(&self, target: &Target) -> Result<Deleted, Failure> {
        let created = self.with_process(target, |p| p.state() == State::Created)?;
        if self.in_guest(&target.id)? {
            self.delete_in_guest(target, created).await?;
        }
        let owner = self.lock().container(&target.id)?.owns_vm();
        if owner {
            self.stop().await;
        }
        let mut inner = self.lock();
        let removed: Option<Container> = inner.containers.remove(&target.id);
        let container = removed.ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("container {} does not exist", target.id),
            )
        })?;
        Ok(self.told_deleted(target, &container.init))
    }

    async fn delete_in_guest(&self, target: &Target, created: bool) -> Result<(), Failure> {
        let Ok(sandbox) = self.sandbox() else {
            return Ok(());
        };
        if created {
            self.end_unused(target).await?;
        }
        if let Some(io) = self.with_process(target, |process| process.disconnect())? {
            io.drain(DRAIN).await;
        }
        ignore_unknown(sandbox.agent.delete_container(target.id.as_str()).await)?;
        sandbox.share().remove(target.id.as_str());
        sandbox.release_volumes(&target.id).await;
        self.dismiss(&sandbox, &target.id).await;
        Ok(())
    }

    /// Ends a container that was created and never started.
    async fn end_unused(&self, target: &Target) -> Result<(), Failure> {
        let mut exit = self.with_process(target, |process| process.watch_exit())?;
        let message = SignalProcessRequest {
            container_id: target.id.to_string(),
            signal: SIGKILL,
            all: true,
            ..Default::default()
        };
        ignore_unknown(self.sandbox()?.agent.signal(&message).await)?;
        let ended = tokio::time::timeout(DEATH, exit.wait_for(Option::is_some)).await;
        ended.map(drop).map_err(|_| {
            let text = format!("container {} did not end when killed", target.id);
            Failure::new(Code::DeadlineExceeded, text)
        })
    }

    /// To be called with the state locked.
    fn told_deleted(&self, target: &Target, process: &Process) -> Deleted {
        let exit = process.exit().unwrap_or_else(|| Exit::now(0));
        self.send(Event::Delete {
            id: target.id.to_string(),
            exec_id: target.exec_id_or_empty(),
            pid: process.pid,
            exit,
        });
        Deleted {
            pid: process.pid,
            exit,
        }
    }
}

/// What the agent does not know any more is as good as deleted.
fn ignore_unknown(result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if !matches!(failure.code, Code::NotFound | Code::Unavailable) => Err(failure),
        _ => Ok(()),
    }
}
