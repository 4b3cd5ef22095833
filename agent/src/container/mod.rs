//! A container, from its creation to its deletion.

mod birth;
mod cgroup;
mod cpuset;
mod create;
mod exec;
pub(crate) mod launch;
pub(crate) mod paths;
pub(crate) mod resources;
mod state;
mod stats;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oci_spec::runtime::{LinuxResources, Spec};
use protocol::agent::ContainerStatsResponse;
use protocol::{Failure, Id};
use tokio::sync::watch;

pub(crate) use cgroup::{Cgroup, CgroupError};
pub(crate) use create::create;
pub(crate) use state::{Action, State};

use crate::error::AgentError;
use crate::helper::report::Started;
use crate::helper::{Stage, Task};
use crate::process::Process;
use crate::sandbox::Services;
use crate::signal::Signal;
use crate::stdio::Ends;
use exec::Execs;
use launch::Launch;

type Result<T, E = AgentError> = std::result::Result<T, E>;

/// How long a deletion waits for the end of what was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container and its processes.
pub(crate) struct Container {
    id: Id,
    services: Arc<Services>,
    cgroup: Cgroup,
    process: Process,
    started: Started,
    state: watch::Sender<State>,
    /// Whether the host wants it to end, or takes it for ended.
    killed: watch::Sender<bool>,
    /// One change of state at a time; with it the first process's start, until
    /// it has happened.
    turn: tokio::sync::Mutex<Option<Launch>>,
    execs: Execs,
}

impl Container {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid().as_raw_pid().unsigned_abs()
    }

    /// Its PID namespace, for another container to join.
    pub(crate) fn pid_namespace(&self) -> Result<PathBuf> {
        self.after(Action::Exec)?;
        Ok(PathBuf::from(format!("/proc/{}/ns/pid", self.pid())))
    }

    /// Runs the user's program.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut turn = self.turn.lock().await;
        let next = self.after(Action::Start)?;
        let Some(launch) = turn.take() else {
            return Err(AgentError::StartedBefore(self.id.clone()));
        };
        self.release()
            .map_err(|error| AgentError::Io("start the container", error))?;
        launch.executed().await?;
        if self.started.poststart
            && let Err(error) = self.run_poststart().await
        {
            // As runc does: nobody takes it for started.
            self.killed.send_replace(true);
            self.kill();
            return Err(error);
        }
        self.set_state(next);
        Ok(())
    }

    /// A hook may never end: one that was killed does not wait for it.
    async fn run_poststart(&self) -> Result<()> {
        let mut killed = self.killed.subscribe();
        tokio::select! {
            run = self.run_hooks(Stage::Poststart) => Ok(run?),
            _ = killed.wait_for(|killed| *killed) => Err(AgentError::Finished),
        }
    }

    /// The first process waits for a connection to its socket.
    fn release(&self) -> io::Result<()> {
        use std::io::Write;
        let socket = paths::state(&self.id).join(libcontainer::notify_socket::NOTIFY_FILE);
        UnixStream::connect(socket)?.write_all(b"start container")
    }

    /// Stops all of its processes for a while.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.freeze(Action::Pause, true).await
    }

    /// Lets them go on.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.freeze(Action::Resume, false).await
    }

    async fn freeze(&self, action: Action, frozen: bool) -> Result<()> {
        let _turn = self.turn.lock().await;
        let next = self.after(action)?;
        self.cgroup.freeze(frozen).await?;
        self.set_state(next);
        Ok(())
    }

    /// Applies new limits: an OCI `linux.resources` object as JSON.
    pub(crate) async fn update(&self, resources: &[u8]) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.after(Action::Update)?;
        let limits: LinuxResources =
            serde_json::from_slice(resources).map_err(|error| AgentError::Invalid {
                what: "not OCI resources",
                value: error.to_string(),
            })?;
        self.cgroup.update(limits, &self.resources()?)?;
        Ok(())
    }

    /// The limits it was created with.
    fn resources(&self) -> Result<LinuxResources> {
        let spec = Spec::load(paths::configuration(&self.id)).map_err(|error| {
            AgentError::Io(
                "read the container's configuration",
                io::Error::other(error),
            )
        })?;
        let linux = spec.linux().as_ref();
        Ok(linux
            .and_then(|linux| linux.resources().clone())
            .unwrap_or_default())
    }

    /// Sends `signal` to its first process, or to every process it has.
    pub(crate) fn signal(&self, signal: Signal, all: bool) -> Result<()> {
        self.after(Action::Signal)?;
        if signal.is_kill() {
            self.killed.send_replace(true);
        }
        match (all, signal.is_kill()) {
            (false, _) => self.process.signal(signal)?,
            (true, true) => self.cgroup.kill()?,
            (true, false) => {
                self.cgroup
                    .processes()?
                    .into_iter()
                    .for_each(|pid| signal.send_to(pid));
            }
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Result<ContainerStatsResponse> {
        Ok(stats::read(self.cgroup.path())?)
    }

    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        Ok(self.cgroup.processes()?)
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        self.process.resize(columns, rows)
    }

    /// Frees what it held in the guest. To be called once, when it has stopped, was
    /// killed or has never run.
    pub(crate) async fn delete(&self) -> Result<()> {
        self.end().await;
        let _turn = self.turn.lock().await;
        self.after(Action::Delete)?;
        if self.started.poststop
            && let Err(error) = self.run_hooks(Stage::Poststop).await
        {
            // The specification has their errors logged, not the deletion fail.
            tracing::warn!(container = %self.id, %error, "poststop hooks");
        }
        self.cgroup.remove().await?;
        remove_files(&self.id)
            .map_err(|error| AgentError::Io("remove the container's files", error))
    }

    /// Waits for the end of one that was killed, and sees to it for one that has
    /// never run.
    async fn end(&self) {
        let unused = *self.state.borrow() == State::Created;
        if unused {
            self.killed.send_replace(true);
            self.kill();
        }
        let killed = *self.killed.borrow();
        if killed {
            let mut state = self.state.subscribe();
            let stopped = state.wait_for(|state| *state == State::Stopped);
            // What lives on is refused its deletion.
            let _ = tokio::time::timeout(PATIENCE, stopped).await;
        }
    }

    /// Kills whatever is left of it, whatever its state.
    pub(crate) fn kill(&self) {
        if let Err(error) = self.cgroup.kill() {
            tracing::warn!(container = %self.id, %error, "kill the container");
        }
    }

    async fn run_hooks(&self, stage: Stage) -> Result<(), Failure> {
        let task = Task::Hooks {
            container: self.id.to_string(),
            stage,
        };
        let launch = Launch::start(&task, &Ends::null()?, None, &self.services.helpers)?;
        launch.executed().await
    }

    /// The state after `action`, or why there is none.
    fn after(&self, action: Action) -> Result<State> {
        let state = *self.state.borrow();
        state.after(action).ok_or_else(|| AgentError::State {
            id: self.id.clone(),
            state,
            action,
        })
    }

    /// Its first process may have ended meanwhile; nothing follows on that.
    fn set_state(&self, state: State) {
        self.state.send_modify(|now| {
            if *now != State::Stopped {
                *now = state;
            }
        });
    }
}

/// Removes the bundle and libcontainer's state of container `id`.
fn remove_files(id: &Id) -> io::Result<()> {
    for path in [paths::bundle(id), paths::state(id)] {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
