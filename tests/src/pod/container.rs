//! A container in a pod.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use ctl::cri::Client;
use ctl::cri::stream::{Output, Session, Stdio};
use ctl::cri::v1::{ContainerState, ContainerStatus};
use tokio::time::{Instant, sleep};

use super::{Limits, Logs, Pod};
use crate::ctr::Ended;
use crate::harness::patient;
use crate::task::AWAIT_READY;

/// Longer than any command of a case takes.
const EXEC: Duration = Duration::from_secs(30);

/// A container. It goes with its pod.
pub struct Container {
    pub(super) client: Client,
    /// Its id in containerd.
    pub id: String,
    pub(super) log: PathBuf,
}

impl Container {
    /// Uses the connection of `pod`, after that was made anew.
    pub fn reconnect(&mut self, pod: &Pod) {
        self.client = pod.client.clone();
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn start(&self) -> Result<()> {
        Ok(self.client.start_container(&self.id).await?)
    }

    /// Runs a command in it to its end.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn exec(&self, command: &[&str]) -> Result<Ended> {
        let answer = self
            .client
            .exec_sync(&self.id, command, patient(EXEC))
            .await?;
        Ok(Ended {
            code: Some(answer.exit_code),
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed, and returns its output without the
    /// last line feed.
    ///
    /// # Errors
    ///
    /// What the runtime answers; or another exit code than 0.
    pub async fn ask(&self, command: &[&str]) -> Result<String> {
        let ended = self.exec(command).await?;
        if ended.code != Some(0) {
            bail!("{command:?} ended with {ended:?}");
        }
        Ok(ended.stdout.trim_end_matches('\n').to_owned())
    }

    /// Waits until its command has made the file `/ready`.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn ready(&self) -> Result<()> {
        self.ask(&AWAIT_READY).await?;
        Ok(())
    }

    /// Opens a session with a new process.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn open(&self, command: &[&str], stdio: Stdio) -> Result<Session> {
        Ok(self.client.exec(&self.id, command, stdio).await?)
    }

    /// Connects to the streams of its first process.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn attach(&self, stdio: Stdio) -> Result<Session> {
        Ok(self.client.attach(&self.id, stdio).await?)
    }

    /// Runs a command with `input` for its standard input, over a stream.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn stream(&self, command: &[&str], input: &[u8]) -> Result<Output> {
        let session = self
            .open(
                command,
                Stdio {
                    stdin: true,
                    tty: false,
                },
            )
            .await?;
        Ok(session.communicate(input).await?)
    }

    /// What it has written until now.
    ///
    /// # Errors
    ///
    /// The log cannot be read, or is not in CRI's form.
    pub fn logs(&self) -> Result<Logs> {
        Logs::read(&self.log)
    }

    /// What it has written once that is `complete`, or after a few seconds: the
    /// end of a container may be told before its log is written to the end.
    ///
    /// # Errors
    ///
    /// As [`Container::logs`].
    pub async fn logs_when(&self, complete: impl Fn(&Logs) -> bool) -> Result<Logs> {
        let deadline = Instant::now() + patient(Duration::from_secs(5));
        loop {
            let logs = self.logs()?;
            if complete(&logs) || Instant::now() > deadline {
                return Ok(logs);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its state and exit code.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn status(&self) -> Result<ContainerStatus> {
        Ok(self.client.container_status(&self.id).await?)
    }

    /// Waits until it has ended and returns its exit code.
    ///
    /// # Errors
    ///
    /// What the runtime answers; or it has not ended within `limit`.
    pub async fn exit_code(&self, limit: Duration) -> Result<i32> {
        let limit = patient(limit);
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status().await?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status.exit_code);
            }
            if Instant::now() > deadline {
                bail!("the container is {:?} after {limit:?}", status.state());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks it to end, and kills it after `grace`.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn stop(&self, grace: Duration) -> Result<()> {
        Ok(self.client.stop_container(&self.id, grace).await?)
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn remove(self) -> Result<()> {
        Ok(self.client.remove_container(&self.id).await?)
    }

    /// Changes its limits while it runs.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn update(&self, limits: Limits) -> Result<()> {
        let limits = limits.to_cri();
        let updated = self.client.update_container_resources(&self.id, limits);
        Ok(updated.await?)
    }

    /// CPU time in nanoseconds and memory in bytes that it uses.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn usage(&self) -> Result<(u64, u64)> {
        let stats = self.client.container_stats(&self.id).await?;
        let cpu = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds);
        let memory = stats.memory.and_then(|memory| memory.working_set_bytes);
        let value = |value: Option<ctl::cri::v1::UInt64Value>| value.map_or(0, |v| v.value);
        Ok((value(cpu), value(memory)))
    }
}
