//! What an operator types, in the bed: `kata-mshv`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::bed::Bed;
use crate::ctr::Ended;
use crate::harness::patient;

/// Longer than a pod takes, even where there is no KVM.
const SOON: Duration = Duration::from_secs(60);

/// `kata-mshv` at the bed's containerd.
pub struct Operator<'a> {
    bed: &'a Bed,
    pods: PathBuf,
}

impl<'a> Operator<'a> {
    /// One who works on `bed`.
    #[must_use]
    pub fn new(bed: &'a Bed) -> Self {
        Self {
            bed,
            pods: bed.layout.scratch("pods"),
        }
    }

    /// `kata-mshv` with `arguments`; what follows a `--` is the caller's to add.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bed.product().ctl());
        command
            .args(arguments)
            .arg("--pods-dir")
            .arg(&self.pods)
            .envs(self.bed.environment())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the pod of the manifest `file` and leaves it running.
    ///
    /// # Errors
    ///
    /// What `kata-mshv` says.
    pub async fn run(&self, file: &str) -> Result<()> {
        self.done(&["run", "--detach", file]).await?;
        Ok(())
    }

    /// Waits for the first line of the pod's log.
    ///
    /// # Errors
    ///
    /// What `kata-mshv` says.
    pub async fn first_line(&self, pod: &str) -> Result<String> {
        let mut logs = self.command(&["logs", "--follow", pod]);
        let mut child = logs
            .stdout(Stdio::piped())
            .spawn()
            .context("start kata-mshv logs")?;
        let lines = child
            .stdout
            .take()
            .context("kata-mshv logs has no output")?;
        let mut line = String::new();
        let mut lines = BufReader::new(lines);
        let read = timeout(patient(SOON), lines.read_line(&mut line)).await;
        read.with_context(|| format!("pod {pod} has logged nothing after {SOON:?}"))??;
        child.kill().await.context("end kata-mshv logs")?;
        ensure!(
            !line.is_empty(),
            "kata-mshv logs --follow {pod} ended without a line"
        );
        Ok(line.trim_end().to_owned())
    }

    /// Runs `command` in the pod and returns what it says.
    ///
    /// # Errors
    ///
    /// What `kata-mshv` says.
    pub async fn exec(&self, pod: &str, command: &str) -> Result<String> {
        // Options end where the command begins.
        let mut exec = self.command(&["exec"]);
        exec.args([pod, "--", "sh", "-c", command]);
        let ended = Ended::of(exec).await?.success();
        let ended = ended.with_context(|| format!("{command:?} in pod {pod}"))?;
        Ok(ended.stdout.trim_end().to_owned())
    }

    /// Removes the pod.
    ///
    /// # Errors
    ///
    /// What `kata-mshv` says.
    pub async fn remove(&self, pod: &str) -> Result<()> {
        self.done(&["rm", "--force", pod]).await?;
        Ok(())
    }

    async fn done(&self, arguments: &[&str]) -> Result<Ended> {
        let ended = Ended::of(self.command(arguments)).await?.success();
        ended.with_context(|| format!("kata-mshv {}", arguments.join(" ")))
    }
}
