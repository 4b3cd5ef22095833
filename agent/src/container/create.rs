//! Making a container: its cgroup and bundle, its first process up to the
//! program, its streams. What is made is unmade again when a step fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::Id;
use protocol::agent::CreateContainerRequest;
use tokio::sync::{oneshot, watch};

use super::birth::Birth;
use super::exec::Execs;
use super::{Action, Cgroup, Container, Result, State, paths, remove_files};
use crate::error::AgentError;
use crate::helper::{self, Task};
use crate::reaper::Exit;
use crate::sandbox::Services;

/// Makes the container of `request`, up to its program; in the PID namespace
/// `joined`, if there is one.
pub(crate) async fn create(
    id: Id,
    request: CreateContainerRequest,
    joined: Option<PathBuf>,
    services: Arc<Services>,
) -> Result<Arc<Container>> {
    let cgroup = Cgroup::create(&id)?;
    match build(&id, &request, joined, &cgroup, &services).await {
        Ok(birth) => Ok(settle(id, cgroup, birth, services)),
        Err(error) => {
            unmake(&id, &cgroup).await;
            Err(error)
        }
    }
}

async fn build(
    id: &Id,
    request: &CreateContainerRequest,
    joined: Option<PathBuf>,
    cgroup: &Cgroup,
    services: &Services,
) -> Result<Birth> {
    write_bundle(id, &request.spec)
        .map_err(|error| AgentError::Io("write the container's bundle", error))?;
    services
        .oom
        .watch(id, cgroup.path())
        .map_err(|error| AgentError::Io("watch the container's memory", error))?;
    let in_user_namespace = services.in_user_namespace.load(Ordering::Relaxed);
    let pid_namespace = match request.share_process_namespace {
        true if joined.is_none() => {
            let namespace = services
                .pid_namespace
                .path(in_user_namespace, &services.helpers);
            Some(namespace.await?)
        }
        _ => joined,
    };
    let task = |console| {
        Task::Create(helper::Create {
            container: id.to_string(),
            console,
            pid_namespace,
            in_user_namespace,
        })
    };
    Ok(Birth::give(task, &request.stdio, None, services).await?)
}

fn write_bundle(id: &Id, spec: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(paths::bundle(id))?;
    std::fs::create_dir_all(paths::STATES)?;
    std::fs::write(paths::specification(id), spec)
}

async fn unmake(id: &Id, cgroup: &Cgroup) {
    if let Err(error) = cgroup.remove().await {
        tracing::warn!(container = %id, %error, "remove the cgroup of a failed container");
    }
    if let Err(error) = remove_files(id) {
        tracing::warn!(container = %id, %error, "remove the files of a failed container");
    }
}

fn settle(id: Id, cgroup: Cgroup, birth: Birth, services: Arc<Services>) -> Arc<Container> {
    let container = Arc::new(Container {
        id,
        services,
        cgroup,
        process: birth.process,
        started: birth.started,
        state: watch::Sender::new(State::Created),
        killed: watch::Sender::new(false),
        turn: tokio::sync::Mutex::new(Some(birth.launch)),
        execs: Execs::default(),
    });
    tokio::spawn(Arc::clone(&container).watch(birth.exit));
    container
}

impl Container {
    /// Waits for the first process's end and tells the host of it, after all
    /// that belongs before it: the answer to a start under way, kills for want
    /// of memory, output, the ends of execs.
    async fn watch(self: Arc<Self>, exit: oneshot::Receiver<Exit>) {
        // The reaper lives as long as the agent.
        let Ok(exit) = exit.await else { return };
        self.process.ended(exit);
        // In a PID namespace of its own all others are dead by now.
        self.kill();
        let _turn = self.turn.lock().await;
        self.services.oom.check(&self.id);
        self.process.streams().flush().await;
        self.execs.ended().await;
        self.stop();
        self.services.events.exited(&self.id, None, exit);
    }

    fn stop(&self) {
        self.state
            .send_modify(|state| *state = state.after(Action::Exit).unwrap_or(*state));
    }
}
