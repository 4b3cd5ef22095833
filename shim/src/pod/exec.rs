//! Adding a process to a container. It runs when it is started.

use protocol::{Code, Failure};

use super::Pod;
use super::container::Exec;
use super::lookup::Target;
use super::process::Process;
use super::state::State;
use crate::containerd::Event;
use crate::stdio::StdioPaths;

/// What containerd asks for.
pub(crate) struct ExecRequest {
    pub(crate) id: String,
    pub(crate) exec_id: String,
    /// OCI `process` object, JSON.
    pub(crate) spec: Vec<u8>,
    pub(crate) stdio: StdioPaths,
}

impl Pod {
    /// Describes an exec.
    pub(crate) fn exec(&self, request: ExecRequest) -> Result<(), Failure> {
        let target = Target::new(&request.id, &request.exec_id)?;
        let exec_id = target
            .exec_id
            .clone()
            .ok_or_else(|| Failure::new(Code::InvalidArgument, "an exec needs an id of its own"))?;
        let mut inner = self.lock();
        let container = inner.container(&target.id)?;
        if container.execs.contains_key(&exec_id) {
            let text = format!("exec {exec_id} exists already");
            return Err(Failure::new(Code::AlreadyExists, text));
        }
        let runs = matches!(container.init.state(), State::Running | State::Created);
        if !runs || !container.in_guest() {
            let text = format!("cannot exec in container {}: it is not running", target.id);
            return Err(Failure::new(Code::FailedPrecondition, text));
        }
        let name = format!("exec {exec_id} of container {}", target.id);
        let process = Process::new(name, State::Created, request.stdio);
        container.execs.insert(
            exec_id,
            Exec {
                process,
                spec: request.spec,
            },
        );
        self.send(Event::ExecAdded {
            id: request.id,
            exec_id: request.exec_id,
        });
        Ok(())
    }
}
