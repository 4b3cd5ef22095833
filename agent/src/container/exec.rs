//! Further processes of a running container.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::Id;
use protocol::agent::ExecProcessRequest;
use tokio::sync::{oneshot, watch};

use super::birth::Birth;
use super::{Action, Container, Result, paths};
use crate::error::AgentError;
use crate::helper::{self, Task};
use crate::process::Process;
use crate::reaper::Exit;
use crate::registry::{Entry, Registry};
use crate::signal::Signal;

/// How long the end of a container waits for its execs', and the deletion of an
/// exec for its end: they are dead or dying then.
const PATIENCE: Duration = Duration::from_secs(5);

/// The execs of a container.
#[derive(Default)]
pub(super) struct Execs {
    processes: Registry<Process>,
    /// Those that were killed, some of them while they were being made.
    killed: Mutex<BTreeSet<Id>>,
    /// How many have not been told to have ended.
    running: watch::Sender<usize>,
}

impl Execs {
    /// Notes that one is killed: one that is being made ends as soon as it is made.
    /// Returns whether it is such a one.
    fn cancel(&self, id: &Id) -> bool {
        // Before the look: it may be made between the two.
        self.killed().insert(id.clone());
        let entry = self.processes.get(id);
        if matches!(entry, Entry::Absent) {
            self.killed().remove(id);
        }
        matches!(entry, Entry::Reserved)
    }

    fn was_killed(&self, id: &Id) -> bool {
        self.killed().contains(id)
    }

    fn forget(&self, id: &Id) {
        self.processes.remove(id);
        self.killed().remove(id);
    }

    fn killed(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the host has been told of the end of every exec.
    pub(super) async fn ended(&self) {
        let mut running = self.running.subscribe();
        // The sender is in `self`; one that takes longer is told of later.
        let _ = tokio::time::timeout(PATIENCE, running.wait_for(|count| *count == 0)).await;
    }
}

impl Container {
    /// Starts the process of `request`; returns its number when its program runs.
    pub(crate) async fn exec(self: Arc<Self>, id: Id, request: ExecProcessRequest) -> Result<u32> {
        self.after(Action::Exec)?;
        let exists = || AgentError::ExecExists {
            container: self.id.clone(),
            exec: id.clone(),
        };
        let reservation = self.execs.processes.reserve(&id).ok_or_else(exists)?;
        let (process, exit) = match self.run_exec(&id, &request).await {
            Ok((process, exit)) => (Arc::new(process), exit),
            Err(error) => {
                drop(reservation);
                self.execs.killed().remove(&id);
                return Err(error);
            }
        };
        reservation.fill(Arc::clone(&process));
        self.execs.running.send_modify(|count| *count += 1);
        let number = process.pid().as_raw_pid().unsigned_abs();
        // The host has given it up: it will not have it deleted.
        let forget = self.execs.was_killed(&id);
        if forget {
            // It may have ended by itself.
            let _ = process.signal(Signal::KILL);
        }
        tokio::spawn(Arc::clone(&self).watch_exec(id, process, exit, forget));
        Ok(number)
    }

    /// Starts the process, up to its program and into it.
    async fn run_exec(
        &self,
        id: &Id,
        request: &ExecProcessRequest,
    ) -> Result<(Process, oneshot::Receiver<Exit>)> {
        let birth = self.give_birth(id, request).await?;
        birth.launch.executed().await?;
        Ok((birth.process, birth.exit))
    }

    async fn give_birth(&self, id: &Id, request: &ExecProcessRequest) -> Result<Birth> {
        let path = paths::process(&self.id, id);
        std::fs::write(&path, &request.process)
            .map_err(|error| AgentError::Io("write the process's description", error))?;
        let init = self.process.handle()?;
        let task = |console| {
            Task::Exec(helper::Exec {
                container: self.id.to_string(),
                process: path,
                init_pid: self.process.pid().as_raw_pid(),
                console,
            })
        };
        Ok(Birth::give(task, &request.stdio, Some(init), &self.services).await?)
    }

    async fn watch_exec(
        self: Arc<Self>,
        id: Id,
        process: Arc<Process>,
        exit: oneshot::Receiver<Exit>,
        forget: bool,
    ) {
        // The reaper lives as long as the agent.
        let Ok(exit) = exit.await else { return };
        process.ended(exit);
        process.streams().flush().await;
        self.services.events.exited(&self.id, Some(&id), exit);
        if forget {
            self.execs.forget(&id);
        }
        self.execs.running.send_modify(|count| *count -= 1);
    }

    /// Forgets an exec that has ended, or is dying.
    pub(crate) async fn delete_exec(&self, id: &Id) -> Result<()> {
        let process = self.exec_process(id)?;
        if self.execs.was_killed(id) {
            let mut running = self.execs.running.subscribe();
            // Every end of an exec changes the number.
            let ended = running.wait_for(|_| process.has_ended());
            let _ = tokio::time::timeout(PATIENCE, ended).await;
        }
        if !process.has_ended() {
            return Err(AgentError::StillRunning {
                container: self.id.clone(),
                exec: id.clone(),
            });
        }
        self.execs.forget(id);
        Ok(())
    }

    pub(crate) fn signal_exec(&self, id: &Id, signal: Signal) -> Result<()> {
        if signal.is_kill() && self.execs.cancel(id) {
            return Ok(());
        }
        self.exec_process(id)?.signal(signal)
    }

    pub(crate) fn resize_exec(&self, id: &Id, columns: u16, rows: u16) -> Result<()> {
        self.exec_process(id)?.resize(columns, rows)
    }

    fn exec_process(&self, id: &Id) -> Result<Arc<Process>> {
        match self.execs.processes.get(id) {
            Entry::Present(process) => Ok(process),
            Entry::Absent | Entry::Reserved => Err(AgentError::NoExec {
                container: self.id.clone(),
                exec: id.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::Pid;

    use super::*;
    use crate::stdio::Streams;

    #[test]
    fn one_that_is_killed_while_it_is_made_is_told_so_once_it_is() {
        let (execs, id) = (Execs::default(), Id::new("e").unwrap());
        assert!(!execs.cancel(&id), "there is none");
        let reservation = execs.processes.reserve(&id).unwrap();
        assert!(!execs.was_killed(&id));
        assert!(execs.cancel(&id));

        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        reservation.fill(Arc::new(Process::new(pid, Streams::default())));
        child.wait().unwrap();
        assert!(execs.was_killed(&id));
        assert!(!execs.cancel(&id), "one that is made is sent the signal");
        execs.forget(&id);
        assert!(!execs.was_killed(&id));
        assert!(matches!(execs.processes.get(&id), Entry::Absent));
    }
}
