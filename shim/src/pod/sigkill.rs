//! SIGKILL, which a guest has to carry out: one that does not loses its VM. kubelet
//! could not end the pod otherwise: containerd ends the containers of a pod first, and
//! does not get to the pod itself when one does not end.

use std::sync::Arc;
use std::time::Duration;

use protocol::agent::SignalProcessRequest;
use protocol::{Code, Failure, Id};
use tokio::sync::watch;

use super::lookup::Target;
use super::{Exit, Pod};
use crate::sandbox::Sandbox;

pub(super) const SIGKILL: u32 = 9;

/// How long a process may take to end before its agent is asked whether it is there.
/// Much memory is given back for seconds, under emulation longer.
const DEATH: Duration = Duration::from_secs(30);
/// How long it may take after that, where the agent is there: a process may wait for a
/// disk that is slow, or for one that never answers. Together less than the two minutes
/// for which containerd's CRI waits.
const SLOW_DEATH: Duration = Duration::from_secs(60);

/// How long after its connection a VM may end to be the reason for the connection's end.
const ECHO: Duration = Duration::from_secs(1);

type ExitWatch = watch::Receiver<Option<Exit>>;

impl Pod {
    /// Sends SIGKILL to a container's first process, or to `all` of it, and sees to it
    /// that it ends.
    pub(super) async fn kill_surely(&self, target: &Target, all: bool) -> Result<(), Failure> {
        if self.is_gone() {
            // Its end is about to be told.
            return Ok(());
        }
        let (sandbox, exit) = self.find_dying(target)?;
        let sent = self.send_sigkill(&sandbox, target, all).await;
        let (pod, target) = (self.clone(), target.clone());
        tokio::spawn(async move { pod.await_death(&sandbox, &target, exit).await });
        sent
    }

    /// The same; returns when it has ended.
    pub(super) async fn end(&self, target: &Target) -> Result<(), Failure> {
        let (sandbox, exit) = self.find_dying(target)?;
        // Whatever the answer: it ends, or the VM does.
        let _ = self.send_sigkill(&sandbox, target, true).await;
        self.await_death(&sandbox, target, exit).await;
        Ok(())
    }

    fn find_dying(&self, target: &Target) -> Result<(Arc<Sandbox>, ExitWatch), Failure> {
        let sandbox = self.sandbox()?;
        let exit = self.with_process(target, |process| process.watch_exit())?;
        Ok((sandbox, exit))
    }

    /// Without an answer there is nothing to wait for any more.
    async fn send_sigkill(
        &self,
        sandbox: &Sandbox,
        target: &Target,
        all: bool,
    ) -> Result<(), Failure> {
        match sandbox.agent.signal(&sigkill(target, all)).await {
            Err(failure) if is_silence(&failure) => {
                let reason = format!("killing container {}: {failure}", target.id);
                self.give_up(sandbox, &reason).await;
                Ok(())
            }
            answered => answered,
        }
    }

    async fn await_death(&self, sandbox: &Sandbox, target: &Target, mut exit: ExitWatch) {
        if ended(&mut exit, DEATH).await {
            return;
        }
        let waited = match hears(sandbox, &target.id).await {
            Ok(()) if ended(&mut exit, SLOW_DEATH).await => return,
            Ok(()) => format!("for {} s", (DEATH + SLOW_DEATH).as_secs()),
            Err(failure) => format!("for {} s, and then {failure}", DEATH.as_secs()),
        };
        let id = &target.id;
        let reason = format!("container {id} was killed, and the guest did not end it {waited}");
        self.give_up(sandbox, &reason).await;
    }

    /// The guest is of no use any more.
    pub(super) async fn give_up(&self, sandbox: &Sandbox, reason: &str) {
        // A VM that has ended does not answer either, and who waits for that end
        // tells why it came.
        if tokio::time::timeout(ECHO, sandbox.ended()).await.is_err() {
            self.lose(sandbox, reason).await;
        }
    }

    /// Has the guest end what it may have started, though its start has failed: by its
    /// hooks, or because the answer came too late.
    pub(super) async fn end_unstarted(&self, sandbox: &Sandbox, target: &Target) {
        let all = target.exec_id.is_none();
        match sandbox.agent.signal(&sigkill(target, all)).await {
            Err(failure) if failure.code != Code::NotFound => {
                let (id, exec_id) = (&target.id, target.exec_id_or_empty());
                tracing::warn!(%id, exec_id, %failure, "end what was not started");
            }
            _ => {}
        }
    }
}

fn sigkill(target: &Target, all: bool) -> SignalProcessRequest {
    SignalProcessRequest {
        container_id: target.id.to_string(),
        exec_id: target.exec_id_or_empty(),
        signal: SIGKILL,
        all,
        ..Default::default()
    }
}

/// Whether the agent answers what costs it nothing, whatever it says.
pub(super) async fn hears(sandbox: &Sandbox, id: &Id) -> Result<(), Failure> {
    match sandbox.agent.pids(id.as_str()).await {
        Err(failure) if is_silence(&failure) => Err(failure),
        _ => Ok(()),
    }
}

/// Nobody has answered.
fn is_silence(failure: &Failure) -> bool {
    matches!(failure.code, Code::DeadlineExceeded | Code::Unavailable)
}

/// Whether the process ends within `limit`; one that is forgotten has ended.
async fn ended(exit: &mut ExitWatch, limit: Duration) -> bool {
    tokio::time::timeout(limit, exit.wait_for(Option::is_some))
        .await
        .is_ok()
}
