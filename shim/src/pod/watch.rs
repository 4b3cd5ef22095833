//! What happens unasked: processes exit, memory runs out, the VM ends.

use std::sync::Arc;

use protocol::Id;
use protocol::agent::event::Kind;
use protocol::agent::{self, ProcessExited};

use super::container::Container;
use super::lookup::Target;
use super::process::Process;
use super::{Exit, Inner, Pod, Vm};
use crate::containerd::Event;
use crate::sandbox::Sandbox;

/// Exit status of a process whose VM has ended: as if killed.
const KILLED: u32 = 128 + 9;

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
        // The stream ends with the guest, and `mourn` sees that end.
        while let Ok(Some(event)) = events.recv().await {
            match event.kind {
                Some(Kind::Exited(exited)) => self.process_exited(&exited),
                Some(Kind::OutOfMemory(oom)) => self.out_of_memory(&oom),
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

    fn out_of_memory(&self, oom: &agent::OutOfMemory) {
        let Ok(target) = Target::new(&oom.container_id, "") else {
            return;
        };
        let mut inner = self.lock();
        if inner.process(&target).is_ok() {
            self.send(Event::Oom {
                id: target.id.to_string(),
            });
        }
    }

    async fn mourn(self, sandbox: Arc<Sandbox>) {
        let reason = sandbox.ended().await;
        if self.vm_ended(&reason) {
            tracing::error!(%reason, "the pod has lost its VM");
            sandbox.stop().await;
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
