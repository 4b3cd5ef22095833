//! What happens unasked: processes exit, memory runs out, the VM ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::Id;
use protocol::agent::event::Kind;
use protocol::agent::{self, ProcessExited};

use super::container::Container;
use super::lookup::Target;
use super::process::Process;
use super::{Exit, Inner, Pod, Vm};
use crate::containerd::Event;
use crate::sandbox::Sandbox;

/// A container is told to be out of memory so often at most. containerd writes to the
/// node's disk for each time, and a guest may say it without end.
const OOM_PAUSE: Duration = Duration::from_secs(1);

/// How long the end of a VM is waited for. One of its processes may wait for a disk of
/// the host that never answers, and does not die before it does.
const LAST_BREATH: Duration = Duration::from_secs(20);

/// Exit status of a process whose VM has ended: as if killed.
pub(super) const KILLED: u32 = 128 + 9;

impl Pod {
    /// Follows the agent's events, and the end of the VM.
    pub(super) fn watch(&self, sandbox: &Arc<Sandbox>) {
        tokio::spawn(self.clone().follow(Arc::clone(sandbox)));
        tokio::spawn(self.clone().mourn(Arc::clone(sandbox)));
    }

    async fn follow(self, sandbox: Arc<Sandbox>) {
        let Ok(mut events) = sandbox.agent.events().await else {
            return;
        };
        let mut told = ToldOoms::default();
        // The stream ends with the guest, and `mourn` sees that end.
        while let Ok(Some(event)) = events.recv().await {
            match event.kind {
                Some(Kind::Exited(exited)) => self.process_exited(&exited),
                Some(Kind::OutOfMemory(oom)) => self.out_of_memory(&oom, &mut told),
                Some(_) | None => {}
            }
        }
    }

    fn process_exited(&self, exited: &ProcessExited) {
        // The guest may say anything: what we do not know is nothing to us.
        let Ok(target) = Target::new(&exited.container_id, &exited.exec_id) else {
            return;
        };
        let mut inner = self.lock();
        if let Ok(process) = inner.process(&target) {
            // The host's clock: the guest's is not to be believed.
            let exit = Exit::now(exited.status.min(255));
            self.tell_exit(&target.id, target.exec_id_or_empty(), process, exit);
        }
    }

    /// To be called with the state locked.
    pub(super) fn tell_exit(&self, id: &Id, exec_id: String, process: &mut Process, exit: Exit) {
        if process.exited(exit) {
            self.send(Event::Exit {
                id: id.to_string(),
                exec_id,
                pid: process.pid,
                exit,
            });
        }
    }

    fn out_of_memory(&self, oom: &agent::OutOfMemory, told: &mut ToldOoms) {
        let Ok(target) = Target::new(&oom.container_id, "") else {
            return;
        };
        let mut inner = self.lock();
        if inner.process(&target).is_ok() && told.is_new(&target.id, Instant::now()) {
            self.send(Event::Oom {
                id: target.id.to_string(),
            });
        }
    }

    async fn mourn(self, sandbox: Arc<Sandbox>) {
        let reason = sandbox.ended().await;
        self.lose(&sandbox, &reason).await;
    }

    /// The pod has no VM any more, or none that is of use: nothing of it is left then.
    pub(super) async fn lose(&self, sandbox: &Sandbox, reason: &str) {
        if self.vm_ended(reason) {
            tracing::error!(%reason, "the pod has lost its VM");
            end(sandbox).await;
            self.all_exited(KILLED);
        }
    }

    /// Returns whether the end was unexpected.
    fn vm_ended(&self, reason: &str) -> bool {
        let mut inner = self.lock();
        let unexpected = matches!(inner.vm, Vm::Up(_));
        if unexpected {
            inner.vm = Vm::Gone(reason.to_owned());
        }
        unexpected
    }

    /// Every process is gone: the members' first, then the sandbox's.
    pub(super) fn all_exited(&self, status: u32) {
        let mut inner = self.lock();
        let Inner { containers, .. } = &mut *inner;
        let (owners, members): (Vec<_>, Vec<_>) = containers
            .iter_mut()
            .partition(|(_, container)| container.owns_vm());
        for (id, container) in members.into_iter().chain(owners) {
            self.container_exited(id, container, Exit::now(status));
        }
    }

    fn container_exited(&self, id: &Id, container: &mut Container, exit: Exit) {
        for (exec_id, process) in container.living() {
            self.tell_exit(id, exec_id, process, exit);
        }
    }
}

/// Ends the VM; what has happened is told even if that is not over soon.
pub(super) async fn end(sandbox: &Sandbox) {
    if tokio::time::timeout(LAST_BREATH, sandbox.stop())
        .await
        .is_err()
    {
        let seconds = LAST_BREATH.as_secs();
        tracing::error!("the VM's processes were killed and live on after {seconds} s");
    }
}

/// Containers that were told to be out of memory just now.
#[derive(Default)]
struct ToldOoms(Vec<(Id, Instant)>);

impl ToldOoms {
    fn is_new(&mut self, id: &Id, now: Instant) -> bool {
        self.0
            .retain(|(_, told)| now.duration_since(*told) < OOM_PAUSE);
        let new = self.0.iter().all(|(other, _)| other != id);
        if new {
            self.0.push((id.clone(), now));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_out_of_memory_once_a_second() {
        let [one, other] = ["one", "other"].map(|id| Id::new(id.to_owned()).unwrap());
        let (mut told, now) = (ToldOoms::default(), Instant::now());
        assert!(told.is_new(&one, now));
        assert!(!told.is_new(&one, now + OOM_PAUSE / 2));
        assert!(told.is_new(&other, now + OOM_PAUSE / 2));
        assert!(told.is_new(&one, now + OOM_PAUSE));
        assert_eq!(told.0.len(), 2);
    }
}
