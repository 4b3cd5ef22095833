//! A container as the shim knows it.

use std::collections::BTreeMap;

use protocol::{Code, Failure, Id};
use tokio::time::Instant;

use super::process::Process;
use super::stand_in::StandIn;
use super::state::State;
use crate::role::Role;
use crate::stdio::StdioPaths;

/// A container: the pod's sandbox, a member of the pod, or one alone.
pub(super) struct Container {
    pub(super) role: Role,
    pub(super) bundle: String,
    pub(super) init: Process,
    pub(super) execs: BTreeMap<Id, Exec>,
    /// Of one that is in the guest with others.
    pub(super) stand_in: Option<StandIn>,
    /// `oom_score_adj` of one whose memory the VM's is.
    pub(super) oom_score: Option<i32>,
    /// When the guest first refused to delete it.
    pub(super) refused: Option<Instant>,
}

/// A process that was added to a container.
pub(super) struct Exec {
    pub(super) process: Process,
    /// OCI `process` object, JSON.
    pub(super) spec: Vec<u8>,
}

impl Container {
    pub(super) fn new(id: &Id, role: Role, bundle: String, paths: StdioPaths) -> Self {
        let what = if role == Role::Sandbox {
            "sandbox"
        } else {
            "container"
        };
        let init = Process::new(format!("{what} {id}"), State::Creating, paths);
        Self {
            role,
            bundle,
            init,
            execs: BTreeMap::new(),
            stand_in: None,
            oom_score: None,
            refused: None,
        }
    }

    /// Whether the guest knows it as a container. The sandbox itself is the
    /// guest.
    pub(super) fn in_guest(&self) -> bool {
        self.role != Role::Sandbox
    }

    /// Whether the VM goes with it.
    pub(super) fn owns_vm(&self) -> bool {
        matches!(self.role, Role::Sandbox | Role::Lone)
    }

    /// The first process, or the exec of that id.
    pub(super) fn process(&mut self, exec_id: Option<&Id>) -> Result<&mut Process, Failure> {
        let Some(exec_id) = exec_id else {
            return Ok(&mut self.init);
        };
        self.execs
            .get_mut(exec_id)
            .map(|exec| &mut exec.process)
            .ok_or_else(|| Failure::new(Code::NotFound, format!("exec {exec_id} does not exist")))
    }

    /// Every process that has not been told to have ended, with its exec id.
    pub(super) fn living(&mut self) -> impl Iterator<Item = (String, &mut Process)> {
        let execs = self
            .execs
            .iter_mut()
            .map(|(id, exec)| (id.to_string(), &mut exec.process));
        execs
            .chain(std::iter::once((String::new(), &mut self.init)))
            .filter(|(_, process)| process.exit().is_none())
    }
}
