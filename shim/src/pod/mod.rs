//! The pod: one VM, its containers, their processes.
//!
//! ```text
//!            create        start          exit, kill
//!  (nothing) ──────▶ Created ─────▶ Running ─────▶ Stopped ──▶ deleted
//!                                    │   ▲
//!                              pause ▼   │ resume
//!                                   Paused
//! ```
//!
//! The state is behind one lock that is never held across a wait. An
//! operation checks the step it wants to take against the table in `state`,
//! does its work, and takes the step; events are sent under the lock, so that
//! containerd hears of steps in the order in which they were taken. Operations
//! run in tasks of their own: a client that goes away does not leave one half
//! done. A container that is deleted while it is created is undone by its
//! creation.
//!
//! The guest may be slow, hang or lie. Whatever it does, what is killed has ended
//! after a while: at the latest with the VM, which is taken from it then
//! (`sigkill`).

mod container;
mod create;
mod delete;
mod described;
mod exec;
mod kill;
mod ledger;
mod lookup;
mod oom_score;
mod pause;
mod process;
mod query;
mod room;
mod shutdown;
mod sigkill;
mod stand_in;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use protocol::{Code, Failure, Id};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};

use crate::containerd::Event;
use crate::sandbox::Sandbox;
use container::Container;
use described::Described;
use ledger::Ledger;

pub(crate) use create::CreateRequest;
pub(crate) use described::SandboxRequest;
pub(crate) use exec::ExecRequest;
pub(crate) use lookup::Target;
pub(crate) use process::Exit;
pub(crate) use query::Snapshot;
pub(crate) use state::State;

/// What the pod was told when its shim began.
pub(crate) struct Settings {
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// Configuration file.
    pub(crate) config_path: PathBuf,
    /// When the shim began.
    pub(crate) began: Instant,
}

/// A pod, shared by the RPC handlers.
#[derive(Clone)]
pub(crate) struct Pod(Arc<Shared>);

struct Shared {
    settings: Settings,
    inner: Mutex<Inner>,
    events: mpsc::UnboundedSender<Event>,
    over: Notify,
    /// A container was forgotten.
    removed: Notify,
    /// What the VM has room for. Held while that changes.
    ledger: AsyncMutex<Ledger>,
    /// The sandbox, where it is no task of containerd's.
    described: OnceLock<Described>,
}

struct Inner {
    vm: Vm,
    containers: BTreeMap<Id, Container>,
}

/// The pod's machine.
enum Vm {
    /// Not asked for yet.
    Absent,
    /// On its way.
    Booting,
    Up(Arc<Sandbox>),
    /// It was there. The reason is for whoever asks for it now.
    Gone(String),
}

impl Pod {
    pub(crate) fn new(settings: Settings, events: mpsc::UnboundedSender<Event>) -> Self {
        let inner = Inner {
            vm: Vm::Absent,
            containers: BTreeMap::new(),
        };
        Self(Arc::new(Shared {
            settings,
            inner: Mutex::new(inner),
            events,
            over: Notify::new(),
            removed: Notify::new(),
            ledger: AsyncMutex::default(),
            described: OnceLock::new(),
        }))
    }

    /// Ends the VM, whatever is still in it.
    pub(crate) async fn stop(&self) {
        if let Some(sandbox) = self.take_vm("the shim is ending") {
            sandbox.stop().await;
        }
    }

    fn take_vm(&self, reason: &str) -> Option<Arc<Sandbox>> {
        let mut inner = self.lock();
        match std::mem::replace(&mut inner.vm, Vm::Gone(reason.to_owned())) {
            Vm::Up(sandbox) => Some(sandbox),
            Vm::Absent | Vm::Booting | Vm::Gone(_) => None,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.lock().vm, Vm::Gone(_))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called with the state locked.
    fn send(&self, event: Event) {
        if self.is_described(event.id()) {
            return;
        }
        // The publisher ends after the pod: nobody is left to be told.
        let _ = self.0.events.send(event);
    }

    /// The running VM.
    fn sandbox(&self) -> Result<Arc<Sandbox>, Failure> {
        match &self.lock().vm {
            Vm::Up(sandbox) => Ok(Arc::clone(sandbox)),
            Vm::Absent | Vm::Booting => Err(Failure::new(
                Code::FailedPrecondition,
                "the pod's VM is not running yet",
            )),
            Vm::Gone(reason) => {
                let text = format!("the pod's VM is not running any more: {reason}");
                Err(Failure::new(Code::Unavailable, text))
            }
        }
    }
}
