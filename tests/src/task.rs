//! A container without a pod, as `ctr` runs it.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::bed::Bed;
use crate::ctr::{Ctr, Ended};
use crate::harness::patient;
use crate::images::BUSYBOX;

/// Does nothing, and ends with 0 when asked to, once `/ready` is there.
pub(crate) const IDLE: [&str; 3] = [
    "sh",
    "-c",
    "trap 'exit 0' TERM; touch /ready; while :; do sleep 0.1; done",
];

/// Ends when `/ready` is there.
pub(crate) const AWAIT_READY: [&str; 3] = ["sh", "-c", "until [ -e /ready ]; do sleep 0.1; done"];

/// A container started by `ctr run --detach`. It has to be removed by
/// [`Task::remove`].
pub struct Task {
    ctr: Ctr,
    id: String,
}

/// `ctr run` with `options`, a container called `id` that runs `command`.
#[must_use]
pub fn run(bed: &Bed, options: &[&str], id: &str, command: &[&str]) -> Command {
    let mut arguments = bed.ctr_run();
    let more = [options, &[BUSYBOX, id], command].concat();
    arguments.extend(more.into_iter().map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    bed.ctr().command(&arguments)
}

impl Task {
    /// Starts one that goes on by itself.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn start(bed: &Bed, options: &[&str], id: &str, command: &[&str]) -> Result<Self> {
        let options = [options, &["--detach"]].concat();
        Ended::of(run(bed, &options, id, command))
            .await?
            .success()?;
        Ok(Self {
            ctr: bed.ctr(),
            id: id.to_owned(),
        })
    }

    /// Starts one that does nothing until it is told to end.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn idle(bed: &Bed, id: &str) -> Result<Self> {
        Self::start(bed, &[], id, &IDLE).await
    }

    /// Waits until its command has made the file `/ready`.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn ready(&self) -> Result<()> {
        let wait = self.exec("ready", &[], &AWAIT_READY);
        Ended::of(wait).await?.success()?;
        Ok(())
    }

    /// `ctr task exec`; each name of an exec can be used once.
    #[must_use]
    pub fn exec(&self, exec: &str, options: &[&str], command: &[&str]) -> Command {
        let head = ["task", "exec", "--exec-id", exec];
        let arguments = [&head[..], options, &[&self.id], command].concat();
        self.ctr.command(&arguments)
    }

    /// `ctr task VERB ID`, which must succeed.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn tell(&self, verb: &str) -> Result<String> {
        self.ctr.done(&["task", verb, &self.id]).await
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn kill(&self, signal: &str) -> Result<()> {
        self.ctr
            .done(&["task", "kill", "--signal", signal, &self.id])
            .await?;
        Ok(())
    }

    /// `RUNNING`, `PAUSED`, `STOPPED`, as `ctr task list` has it.
    ///
    /// # Errors
    ///
    /// What `ctr` says; or it is not there.
    pub async fn state(&self) -> Result<String> {
        let table = self.ctr.done(&["task", "list"]).await?;
        let mut rows = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        match rows
            .find(|row| row.first() == Some(&self.id.as_str()))
            .as_deref()
        {
            Some([_, _, state]) => Ok((*state).to_owned()),
            _ => bail!("{} is not in:\n{table}", self.id),
        }
    }

    /// Waits until its state is `wanted`.
    ///
    /// # Errors
    ///
    /// It is another for 20 s.
    pub async fn await_state(&self, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + patient(Duration::from_secs(20));
        loop {
            let state = self.state().await?;
            if state == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} stays {state}, not {wanted}", self.id);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Removes it once it has stopped, and returns the exit code of its task.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn remove(self) -> Result<i32> {
        self.await_state("STOPPED").await?;
        let said = self
            .ctr
            .run(&["task", "delete", &self.id])
            .await?
            .success()?
            .stderr;
        self.ctr.done(&["container", "delete", &self.id]).await?;
        // `ctr` ends with 0 all the same, and speaks of other codes only.
        match said.trim_end().rsplit_once("exit code ") {
            Some((_, code)) => Ok(code.trim_matches('"').parse()?),
            None => Ok(0),
        }
    }

    /// Kills and removes it.
    ///
    /// # Errors
    ///
    /// What `ctr` says.
    pub async fn end(self) -> Result<()> {
        self.kill("SIGKILL").await?;
        self.remove().await?;
        Ok(())
    }
}
