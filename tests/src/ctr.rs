//! `ctr`, containerd's own command, as a case uses it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

use crate::harness::patient;

/// Longer than anything here takes, even with a machine without KVM.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// `ctr` at a bed's containerd.
#[derive(Clone, Debug)]
pub struct Ctr {
    program: PathBuf,
    socket: PathBuf,
    namespace: String,
}

/// What a command said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Runs `command` to its end, however it ends.
    ///
    /// # Errors
    ///
    /// It cannot be run, or takes longer than a minute.
    pub async fn of(mut command: Command) -> Result<Self> {
        let what = format!("{:?}", command.as_std());
        let output = timeout(patient(LIMIT), command.output()).await;
        let output = output.with_context(|| format!("{what} hangs"))?;
        Ok(output.with_context(|| format!("run {what}"))?.into())
    }

    /// Runs `command` with `input` for its standard input.
    ///
    /// # Errors
    ///
    /// As [`Ended::of`].
    pub async fn of_input(mut command: Command, input: &[u8]) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start a command")?;
        let stdin = child
            .stdin
            .take()
            .context("the command has no standard input")?;
        let both = async { tokio::join!(feed(stdin, input), child.wait_with_output()) };
        let (_, output) = timeout(patient(LIMIT), both)
            .await
            .context("the command hangs")?;
        Ok(output.context("wait for a command")?.into())
    }

    /// Itself, if it ended with code 0.
    ///
    /// # Errors
    ///
    /// Its output, if it did not.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.code == Some(0),
            "exit code {:?}\n{}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

/// Writes `input` and closes. A reader that does not want all is no error.
async fn feed(mut stdin: ChildStdin, input: &[u8]) {
    let _ = stdin.write_all(input).await;
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ctr {
    pub(crate) fn new(program: &Path, socket: &Path, namespace: &str) -> Self {
        Self {
            program: program.to_owned(),
            socket: socket.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// The command with `arguments`, for a caller that wants its streams.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end, however it ends.
    ///
    /// # Errors
    ///
    /// It cannot be run, or takes longer than a minute.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        Ended::of(self.command(arguments)).await
    }

    /// Runs it and returns its output; a failure is an error.
    ///
    /// # Errors
    ///
    /// As [`Ctr::run`]; or it ended with another code than 0.
    pub async fn done(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.run(arguments).await?;
        let ended = ended.success();
        Ok(ended
            .with_context(|| format!("ctr {}", arguments.join(" ")))?
            .stdout)
    }
}
