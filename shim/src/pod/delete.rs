//! Forgetting what has ended, and freeing what it held.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Code, Failure, Id};
use tokio::sync::watch;
use tokio::time::Instant;

use super::lookup::Target;
use super::process::Process;
use super::sigkill::hears;
use super::state::{State, Step};
use super::watch::KILLED;
use super::{Exit, Pod};
use crate::containerd::Event;
use crate::sandbox::Sandbox;

/// How long output may still be on its way after the exit.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a creation may take to end that was abandoned: as long as the VM's does.
const UNDONE: Duration = Duration::from_secs(60);
/// How long a guest may refuse to delete a container. containerd asks again and again; a
/// process that waits for a slow disk is gone one of these times.
const REFUSAL: Duration = Duration::from_secs(90);

/// What is left of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) pid: u32,
    pub(crate) exit: Exit,
}

impl Deleted {
    /// Nobody was told of it.
    fn never_was() -> Self {
        Self {
            pid: 0,
            exit: Exit::now(KILLED),
        }
    }
}

impl Pod {
    /// Deletes a stopped process, one that was never started, or a container that is
    /// still being created.
    pub(crate) async fn delete(&self, target: &Target) -> Result<Deleted, Failure> {
        if let Some(undone) = self.with_process(target, Process::abandon)? {
            return await_undone(target, undone).await;
        }
        self.with_process(target, |process| process.check(Step::Delete))??;
        match &target.exec_id {
            Some(_) => self.delete_exec(target).await,
            None => self.delete_container(target).await,
        }
    }

    async fn delete_exec(&self, target: &Target) -> Result<Deleted, Failure> {
        let (io, started) =
            self.with_process(target, |p| (p.disconnect(), p.state() == State::Stopped))?;
        if let Some(io) = io {
            io.drain(DRAIN).await;
        }
        // Without its VM there is nothing to forget in it. The guest may know even one
        // whose start has failed.
        if let (true, Ok(sandbox)) = (started, self.sandbox()) {
            let (id, exec_id) = (target.id.as_str(), target.exec_id_or_empty());
            ignore_unknown(sandbox.agent.delete_process(id, &exec_id).await)?;
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
        let container = self.remove(&mut inner, &target.id).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("container {} does not exist", target.id),
            )
        })?;
        Ok(self.told_deleted(target, &container.init))
    }

    async fn delete_in_guest(&self, target: &Target, created: bool) -> Result<(), Failure> {
        // Without its VM there is nothing to forget in it.
        if self.sandbox().is_err() {
            return Ok(());
        }
        if created {
            self.end(target).await?;
        }
        if let Some(io) = self.with_process(target, |process| process.disconnect())? {
            io.drain(DRAIN).await;
        }
        // It may have been lost meanwhile.
        let Ok(sandbox) = self.sandbox() else {
            return Ok(());
        };
        self.forget_in_guest(&sandbox, &target.id).await
    }

    /// Has the guest delete a container, and takes back what was shown to it.
    pub(super) async fn forget_in_guest(
        &self,
        sandbox: &Arc<Sandbox>,
        id: &Id,
    ) -> Result<(), Failure> {
        let deleted = ignore_unknown(sandbox.agent.delete_container(id.as_str()).await);
        if let Err(failure) = deleted {
            return self.refused(sandbox, id, failure).await;
        }
        self.take_back(sandbox, id).await;
        Ok(())
    }

    /// Takes back what a container had of the host and of the VM.
    pub(super) async fn take_back(&self, sandbox: &Arc<Sandbox>, id: &Id) {
        sandbox.hide(id).await;
        sandbox.release_volumes(id).await;
        self.dismiss(sandbox, id).await;
    }

    /// The guest has not deleted a container. One that does not answer at all, or
    /// refuses for too long, loses its VM.
    async fn refused(&self, sandbox: &Sandbox, id: &Id, failure: Failure) -> Result<(), Failure> {
        let now = Instant::now();
        let first = *self.lock().container(id)?.refused.get_or_insert(now);
        let reason = match hears(sandbox, id).await {
            Err(silence) => format!("deleting container {id}: {failure}, and then: {silence}"),
            Ok(()) if now - first >= REFUSAL => {
                let seconds = REFUSAL.as_secs();
                format!("the guest has not deleted container {id} for {seconds} s: {failure}")
            }
            Ok(()) => return Err(failure),
        };
        self.give_up(sandbox, &reason).await;
        Ok(())
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

/// Waits for the end of a creation that was abandoned: the process is forgotten then.
async fn await_undone(
    target: &Target,
    mut undone: watch::Receiver<Option<Exit>>,
) -> Result<Deleted, Failure> {
    let undone = tokio::time::timeout(UNDONE, undone.wait_for(Option::is_some)).await;
    undone.map(|_| Deleted::never_was()).map_err(|_| {
        let id = &target.id;
        let text = format!("{id} is still being created; it goes when that has ended");
        Failure::new(Code::DeadlineExceeded, text)
    })
}

/// What the agent does not know any more is as good as deleted.
fn ignore_unknown(result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if !matches!(failure.code, Code::NotFound | Code::Unavailable) => Err(failure),
        _ => Ok(()),
    }
}
