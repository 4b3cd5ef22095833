//! A helper process of the sandbox: started with the file descriptors it
//! needs, watched, and gone when its guard is.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use command_fds::{CommandFdExt, FdMapping};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};

use crate::jail::{self, Rights};

/// Lines of a process's error output that are kept for its obituary.
const KEPT_LINES: usize = 20;
/// Bytes of a kept line: a guest may be able to make a device log.
const KEPT_LINE: u64 = 1024;

/// What a filter of system calls does (seccomp(2), SECCOMP_RET_KILL_PROCESS).
const FORBIDDEN_CALL: &str = "killed by signal 31 (SIGSYS): it made a system call that its \
    filter forbids, as if a guest had taken it over; the kernel's log has the call's number \
    (audit, type 1326)";

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("start {name}: {} does not exist: install it, or set {key} in the configuration", program.display())]
    Missing {
        name: &'static str,
        program: PathBuf,
        key: &'static str,
    },
    #[error("start {name} ({})", program.display())]
    Start {
        name: &'static str,
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("hand file descriptors to {name}")]
    Descriptors {
        name: &'static str,
        #[source]
        source: command_fds::FdMappingCollision,
    },
}

/// What to start. `key` is the configuration key of its path.
pub(crate) struct Program<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) key: &'static str,
    pub(crate) rights: Rights,
}

/// How many processes have not been reaped yet.
static ALIVE: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Waits until every process is reaped whose guard is gone: the shim must not
/// end before, or they would be left to others.
pub(crate) async fn all_reaped() {
    // The sender is never dropped.
    let _ = ALIVE.subscribe().wait_for(|alive| *alive == 0).await;
}

/// A running process. Dropped, it is killed and reaped.
pub(crate) struct Process {
    name: &'static str,
    pid: u32,
    kill: Arc<Notify>,
    ended: watch::Receiver<Option<ExitStatus>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts `program`; descriptor `n` of `fds` becomes number `3 + n` in it.
    pub(crate) fn spawn(
        program: &Program<'_>,
        args: &[String],
        fds: Vec<OwnedFd>,
    ) -> Result<Self, SpawnError> {
        let mut command = Command::new(program.path);
        command
            .args(args)
            // containerd's and the shim's environment is nothing that a process
            // which a guest may take over should know; none needs any of it.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mappings = (3..).zip(fds).map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        command
            .fd_mappings(mappings.collect())
            .map_err(|source| SpawnError::Descriptors {
                name: program.name,
                source,
            })?;
        jail::confine(&mut command, program.rights);
        let child = command.spawn().map_err(|source| program.failed(source))?;
        Ok(Self::watch(program.name, child))
    }

    fn watch(name: &'static str, mut child: Child) -> Self {
        let pid = child.id().unwrap_or_default();
        let kill = Arc::new(Notify::new());
        let last_lines = Arc::default();
        let (sender, ended) = watch::channel(None);
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_lines(name, stderr, Arc::clone(&last_lines)));
        }
        ALIVE.send_modify(|alive| *alive += 1);
        tokio::spawn(supervise(child, Arc::clone(&kill), sender));
        Self {
            name,
            pid,
            kill,
            ended,
            last_lines,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process has ended and is reaped.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await;
        status.ok().and_then(|status| *status).unwrap_or_default()
    }

    /// Kills it, and returns when it is reaped.
    pub(crate) async fn kill(&self) {
        self.kill.notify_one();
        self.ended().await;
    }

    /// How it ended and the last lines that it wrote about it.
    pub(crate) fn obituary(&self, status: ExitStatus) -> String {
        let how = match status.signal() {
            Some(libc::SIGSYS) => FORBIDDEN_CALL.to_owned(),
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exit status {}", status.code().unwrap_or_default()),
        };
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match lines.is_empty() {
            true => how,
            false => format!("{how}: {}", Vec::from(lines.clone()).join("; ")),
        }
    }
}

impl Drop for Process {
    /// Killed here, and not where it is reaped: this thread may have to wait for the
    /// process to be out of the pod's control group, before it does anything else.
    fn drop(&mut self) {
        let pid = self.pid.try_into().ok().filter(|pid| *pid > 0);
        // Its number is nobody else's as long as it is not reaped.
        if let Some(pid) = pid.filter(|_| self.ended.borrow().is_none()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.kill.notify_one();
    }
}

impl Program<'_> {
    fn failed(&self, source: std::io::Error) -> SpawnError {
        let program = self.path.to_owned();
        match source.kind() {
            std::io::ErrorKind::NotFound => SpawnError::Missing {
                name: self.name,
                program,
                key: self.key,
            },
            _ => SpawnError::Start {
                name: self.name,
                program,
                source,
            },
        }
    }
}

async fn supervise(mut child: Child, kill: Arc<Notify>, ended: watch::Sender<Option<ExitStatus>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.notified() => {
            // It may have ended just now: then there is nothing to kill.
            let _ = child.start_kill();
            child.wait().await
        }
    };
    ended.send_replace(Some(status.unwrap_or_default()));
    ALIVE.send_modify(|alive| *alive = alive.saturating_sub(1));
}

async fn keep_lines(
    name: &'static str,
    output: impl AsyncRead + Unpin,
    lines: Arc<Mutex<VecDeque<String>>>,
) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while let Ok(1..) = read_line(&mut reader, &mut line).await {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        tracing::warn!(process = name, "{text}");
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// One line, or [`KEPT_LINE`] bytes of a longer one.
async fn read_line(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> std::io::Result<usize> {
    use tokio::io::AsyncReadExt;
    reader.take(KEPT_LINE).read_until(b'\n', line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Program<'static> {
        Program {
            name: "sh",
            path: Path::new("/bin/sh"),
            key: "none",
            rights: Rights::Inherited,
        }
    }

    fn sh(script: &str) -> Process {
        Process::spawn(&shell(), &["-c".to_owned(), script.to_owned()], Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn the_obituary_quotes_the_last_words() {
        let process = sh("echo cannot find x >&2; exit 3");
        let status = process.ended().await;
        while process.last_lines.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(process.obituary(status), "exit status 3: cannot find x");
    }

    #[tokio::test]
    async fn a_forbidden_call_is_called_so() {
        let process = sh("kill -SYS $$");
        let obituary = process.obituary(process.ended().await);
        assert!(
            obituary.contains("a system call that its filter forbids"),
            "{obituary}"
        );
    }

    #[tokio::test]
    async fn kill_reaps() {
        let process = sh("sleep 1000");
        process.kill().await;
        assert!(!Path::new(&format!("/proc/{}", process.pid())).exists());
    }

    #[tokio::test]
    async fn dropped_it_dies_while_this_thread_waits() {
        let process = sh("sleep 1000");
        let stat = format!("/proc/{}/stat", process.pid());
        drop(process);
        // A zombie: it is reaped when this thread has time again.
        let dead = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        while !dead() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn a_missing_program_names_its_key() {
        let program = Program {
            name: "qemu",
            path: Path::new("/nonexistent"),
            key: "qemu.path",
            rights: Rights::None,
        };
        let error = Process::spawn(&program, &[], Vec::new()).err().unwrap();
        assert!(
            error
                .to_string()
                .ends_with("set qemu.path in the configuration")
        );
    }

    #[tokio::test]
    async fn the_environment_stays_here() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        // The kernel's own record, before the shell adds anything.
        let args = ["-c", "/bin/cat /proc/$$/environ >&3"].map(str::to_owned);
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let process = Process::spawn(&shell(), &args, vec![theirs.into()]).unwrap();
        let status = process.ended().await;
        assert!(status.success(), "{}", process.obituary(status));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut &ours, &mut text).unwrap();
        assert_eq!(text, "");
    }

    #[tokio::test]
    async fn descriptors_arrive_in_their_order() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let args = ["-c".to_owned(), "echo three >&3".to_owned()];
        let process = Process::spawn(&shell(), &args, vec![theirs.into()]).unwrap();
        process.ended().await;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut &ours, &mut text).unwrap();
        assert_eq!(text, "three\n");
    }
}
