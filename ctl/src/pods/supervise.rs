//! A pod from its first init container to its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::cri::CriError;
use crate::logs::{Printer, Terminal, follow};
use crate::manifest::{Container, RestartPolicy};

use super::exits::{ContainerExit, wait_for_exit};
use super::launch::{LaunchError, RunningPod, Started};
use super::restart::{BackOff, Decision, policy};
use super::teardown::{Grace, stop_running};

/// A pod that did not come to its containers, or got lost.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// A container does not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// An init container failed and is not run again.
    #[error("init container {container} exited with {code} ({reason})")]
    Init {
        /// The container.
        container: String,
        /// Its exit code.
        code: i32,
        /// The runtime's word for it.
        reason: String,
    },
    /// The runtime cannot be asked any more.
    #[error(transparent)]
    Cri(#[from] CriError),
    /// The log cannot be followed.
    #[error("cannot follow the log {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How a pod's containers ended: names and exit codes in the order of the
/// manifest. A container that was removed while it was watched has no code.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PodOutcome(pub Vec<(String, Option<i32>)>);

impl PodOutcome {
    /// The first exit code that is not zero, else zero.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        let codes = self.0.iter().filter_map(|(_, code)| *code);
        codes.into_iter().find(|code| *code != 0).unwrap_or(0)
    }
}

/// What is said and shown meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    /// Told what happens, a line at a time.
    pub report: fn(&str),
    /// Whether containers are watched: their logs printed, restarts made. Init
    /// containers are in any case.
    pub attached: bool,
    /// Put before each log line of a container.
    pub prefix: fn(pod: &str, container: &str) -> String,
}

/// Runs the containers of one pod.
#[derive(Debug)]
pub struct Supervisor {
    shared: Shared,
    over: watch::Sender<bool>,
    sidecars: JoinSet<Watched>,
    containers: JoinSet<Watched>,
}

type Watched = (String, Result<Option<i32>, SuperviseError>);

/// What each container's task needs.
#[derive(Debug, Clone)]
struct Shared {
    pod: Arc<RunningPod>,
    /// Somebody stops the pod.
    stop: watch::Receiver<bool>,
    /// The containers have ended, the sidecars are to.
    over: watch::Receiver<bool>,
    display: Display,
}

impl Supervisor {
    /// For a pod whose sandbox runs. Once `stop` is true nothing is started any
    /// more; who sets it stops what runs.
    #[must_use]
    pub fn new(pod: Arc<RunningPod>, stop: watch::Receiver<bool>, display: Display) -> Self {
        let (over, is_over) = watch::channel(false);
        Self {
            over,
            shared: Shared {
                pod,
                stop,
                over: is_over,
                display,
            },
            sidecars: JoinSet::new(),
            containers: JoinSet::new(),
        }
    }

    /// Runs the init containers, one after the other, and starts the others.
    /// Safe to cancel between containers.
    ///
    /// # Errors
    /// All of [`SuperviseError`].
    pub async fn start(&mut self) -> Result<(), SuperviseError> {
        let pod = self.shared.pod.clone();
        for container in &pod.pod.spec.init_containers {
            if self.shared.stopping() {
                return Ok(());
            }
            match container.is_sidecar() {
                true => begin(&self.shared, container, &mut self.sidecars).await?,
                false => self.shared.complete(container).await?,
            }
        }
        for container in &pod.pod.spec.containers {
            if self.shared.stopping() {
                return Ok(());
            }
            begin(&self.shared, container, &mut self.containers).await?;
        }
        Ok(())
    }

    /// Waits until all containers have ended for good, and stops the sidecars
    /// then.
    ///
    /// # Errors
    /// [`SuperviseError::Launch`] where a restart fails, [`SuperviseError::Cri`],
    /// [`SuperviseError::Log`].
    pub async fn finish(&mut self) -> Result<PodOutcome, SuperviseError> {
        let outcome = self.join_containers().await?;
        // That nobody listens means that there is no sidecar.
        let _ = self.over.send(true);
        let pod = &self.shared.pod;
        stop_running(&pod.client, &pod.sandbox_id, Grace::OfPod).await?;
        while self.sidecars.join_next().await.is_some() {}
        Ok(outcome)
    }

    async fn join_containers(&mut self) -> Result<PodOutcome, SuperviseError> {
        let mut exits = Vec::new();
        while let Some(joined) = self.containers.join_next().await {
            // A task is aborted or panics only when everything ends.
            let Ok((name, exit)) = joined else { continue };
            exits.push((name, exit?));
        }
        let order = |name: &str| {
            let mut containers = self.shared.pod.pod.spec.containers.iter();
            containers.position(|container| container.name == name)
        };
        exits.sort_by_key(|(name, _)| order(name));
        Ok(PodOutcome(exits))
    }
}

async fn begin(
    shared: &Shared,
    container: &Container,
    tasks: &mut JoinSet<Watched>,
) -> Result<(), SuperviseError> {
    let started = shared.pod.start(container, 0).await?;
    if shared.display.attached {
        let (shared, container) = (shared.clone(), container.clone());
        let policy = policy(shared.pod.pod.spec.restart_policy, &container);
        tasks.spawn(async move {
            let exit = shared.keep_running(&container, policy, started).await;
            let code = exit.map(|exit| exit.map(|exit| exit.code));
            (container.name, code)
        });
    }
    Ok(())
}

impl Shared {
    fn stopping(&self) -> bool {
        *self.stop.borrow() || *self.over.borrow()
    }

    /// Runs an init container until it succeeds.
    async fn complete(&self, container: &Container) -> Result<(), SuperviseError> {
        let policy = match self.pod.pod.spec.restart_policy {
            RestartPolicy::Never => RestartPolicy::Never,
            RestartPolicy::Always | RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        };
        let started = self.pod.start(container, 0).await?;
        match self.keep_running(container, policy, started).await? {
            Some(exit) if exit.code != 0 && !self.stopping() => Err(SuperviseError::Init {
                container: container.name.clone(),
                code: exit.code,
                reason: exit.reason,
            }),
            _ => Ok(()),
        }
    }

    /// Watches a container, and starts it again as its policy says.
    async fn keep_running(
        &self,
        container: &Container,
        policy: RestartPolicy,
        mut started: Started,
    ) -> Result<Option<ContainerExit>, SuperviseError> {
        let mut back_off = BackOff::default();
        let pod = self.pod.pod.full_name();
        let mut printer = Printer::to_terminal(&(self.display.prefix)(&pod, &container.name));
        for attempt in 1.. {
            let Some(exit) = self.exit_of(&started, &mut printer).await? else {
                return Ok(None);
            };
            let decision = back_off.decide(policy, exit.code, exit.ran);
            let Decision::Restart(wait) = decision else {
                return Ok(Some(exit));
            };
            if !self.pause(container, &exit, wait).await {
                return Ok(Some(exit));
            }
            self.pod.client.remove_container(&started.id).await?;
            started = self.pod.start(container, attempt).await?;
        }
        Ok(None)
    }

    /// Waits before a restart. False where there is to be none.
    async fn pause(&self, container: &Container, exit: &ContainerExit, wait: Duration) -> bool {
        if self.stopping() {
            return false;
        }
        let when = match wait.as_secs() {
            0 => "at once".to_owned(),
            seconds => format!("in {seconds} s"),
        };
        (self.display.report)(&format!(
            "container {} of pod {} exited with {} ({}); it is started again {when}",
            container.name,
            self.pod.pod.full_name(),
            exit.code,
            exit.reason,
        ));
        let (mut stop, mut over) = (self.stop.clone(), self.over.clone());
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            _ = stop.wait_for(|stop| *stop) => false,
            _ = over.wait_for(|over| *over) => false,
        }
    }

    /// Prints a container's log until it has exited.
    async fn exit_of(
        &self,
        started: &Started,
        printer: &mut Printer<Terminal>,
    ) -> Result<Option<ContainerExit>, SuperviseError> {
        let exit = wait_for_exit(&self.pod.client, &started.id);
        let (done, ended) = oneshot::channel::<()>();
        let exit = async {
            let exit = exit.await;
            drop(done);
            exit
        };
        let ended = async {
            // That the sender is dropped is the message.
            let _ = ended.await;
        };
        let (exit, printed) = tokio::join!(exit, follow(&started.log, printer, ended));
        match printed {
            // Nobody reads any more; the pod goes on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.map_err(|source| SuperviseError::Log {
                path: started.log.clone(),
                source,
            })?,
        }
        Ok(exit?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(codes: &[Option<i32>]) -> PodOutcome {
        let named = codes.iter().map(|code| ("c".to_owned(), *code));
        PodOutcome(named.collect())
    }

    #[test]
    fn the_first_failure_is_the_pods() {
        assert_eq!(outcome(&[Some(0), None, Some(3), Some(1)]).exit_code(), 3);
        assert_eq!(outcome(&[Some(0), Some(0)]).exit_code(), 0);
        assert_eq!(outcome(&[]).exit_code(), 0);
    }
}
