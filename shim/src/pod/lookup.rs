//! Finding a container or a process by the ids of a request.

use protocol::{Code, Failure, Id};

use super::container::Container;
use super::process::Process;
use super::{Inner, Pod};

/// The ids of a request, checked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: Id,
    /// `None`: the container's first process.
    pub(crate) exec_id: Option<Id>,
}

impl Target {
    /// Checks both ids; `exec_id` may be empty.
    pub(crate) fn new(id: &str, exec_id: &str) -> Result<Self, Failure> {
        let exec_id = if exec_id.is_empty() {
            None
        } else {
            Some(valid(exec_id)?)
        };
        Ok(Self {
            id: valid(id)?,
            exec_id,
        })
    }

    /// As the agent and containerd's events write it: empty for none.
    pub(crate) fn exec_id_or_empty(&self) -> String {
        self.exec_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

pub(super) fn valid(id: &str) -> Result<Id, Failure> {
    Id::new(id).map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))
}

impl Inner {
    pub(super) fn container(&mut self, id: &Id) -> Result<&mut Container, Failure> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Failure::new(Code::NotFound, format!("container {id} does not exist")))
    }

    pub(super) fn process(&mut self, target: &Target) -> Result<&mut Process, Failure> {
        self.container(&target.id)?.process(target.exec_id.as_ref())
    }
}

impl Pod {
    /// Looks at one process under the lock.
    pub(super) fn with_process<T>(
        &self,
        target: &Target,
        look: impl FnOnce(&mut Process) -> T,
    ) -> Result<T, Failure> {
        self.lock().process(target).map(look)
    }

    /// Whether the guest knows the container; the sandbox itself is the guest.
    pub(super) fn in_guest(&self, id: &Id) -> Result<bool, Failure> {
        self.lock()
            .container(id)
            .map(|container| container.in_guest())
    }
}
