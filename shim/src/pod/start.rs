//! Starting what was created: a container, or an exec.

use std::sync::Arc;
use std::time::Instant;

use protocol::agent::ExecProcessRequest;
use protocol::{Code, Failure};

use super::Pod;
use super::container::Container;
use super::lookup::Target;
use super::state::Step;
use crate::containerd::Event;
use crate::sandbox::{START_SPAN, Sandbox};
use crate::stdio::{ProcessIo, StdioPaths};

/// Exit status of a process that could not be started, as shells say it.
const NOT_STARTED: u32 = 128;

impl Pod {
    /// Starts a process; its pid.
    pub(crate) async fn start(&self, target: &Target) -> Result<u32, Failure> {
        let sandbox = self.sandbox()?;
        self.with_process(target, |process| process.step(Step::Start))??;
        let started = match &target.exec_id {
            None => self.start_container(&sandbox, target).await,
            Some(_) => self.start_exec(&sandbox, target).await,
        };
        match started {
            Ok(pid) => self.started(target, pid),
            Err(failure) => {
                self.end_unstarted(&sandbox, target).await;
                self.with_process(target, |process| process.never_ran(NOT_STARTED))?;
                Err(failure)
            }
        }
    }

    async fn start_container(
        &self,
        sandbox: &Arc<Sandbox>,
        target: &Target,
    ) -> Result<u32, Failure> {
        if self.in_guest(&target.id)? {
            let begin = Instant::now();
            sandbox.agent.start_container(target.id.as_str()).await?;
            sandbox.span(START_SPAN, begin);
        }
        // As when it was created.
        self.with_process(target, |process| process.pid)
    }

    async fn start_exec(&self, sandbox: &Arc<Sandbox>, target: &Target) -> Result<u32, Failure> {
        let (spec, paths) = self.described(target)?;
        let io = ProcessIo::open(&paths, &sandbox.streams)
            .map_err(|e| Failure::from_error(Code::InvalidArgument, &e))?;
        let message = ExecProcessRequest {
            container_id: target.id.to_string(),
            exec_id: target.exec_id_or_empty(),
            process: spec,
            stdio: Some(io.tokens()).into(),
            ..Default::default()
        };
        let pid = sandbox.agent.exec(&message).await?;
        self.with_process(target, |process| process.connect(io))?;
        Ok(pid)
    }

    fn described(&self, target: &Target) -> Result<(Vec<u8>, StdioPaths), Failure> {
        let mut inner = self.lock();
        let container: &mut Container = inner.container(&target.id)?;
        let exec = target
            .exec_id
            .as_ref()
            .and_then(|id| container.execs.get(id));
        let exec = exec.ok_or_else(|| Failure::new(Code::NotFound, "the exec does not exist"))?;
        Ok((exec.spec.clone(), exec.process.paths.clone()))
    }

    fn started(&self, target: &Target, pid: u32) -> Result<u32, Failure> {
        let mut inner = self.lock();
        let process = inner.process(target)?;
        process.step(Step::StartDone)?;
        process.pid = pid;
        let id = target.id.to_string();
        self.send(match target.exec_id {
            None => Event::Start { id, pid },
            Some(_) => Event::ExecStarted {
                id,
                exec_id: target.exec_id_or_empty(),
                pid,
            },
        });
        if let Some(exit) = process.take_early_exit() {
            self.tell_exit(&target.id, target.exec_id_or_empty(), process, exit);
        }
        Ok(pid)
    }
}
