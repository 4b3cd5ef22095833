//! Starting a helper and hearing what it reports.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use protocol::{Code, Failure};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use crate::helper::report::{Kind, Report, Started};
use crate::helper::{NAME, Order, Task};
use crate::reaper::{Exit, Expectation, Reaper};
use crate::stdio::Ends;

/// A helper at work, and after it the process it has started, up to exec.
pub(crate) struct Launch {
    reports: Lines<BufReader<Receiver>>,
    /// The first error that was logged on the way: the cause of the others.
    cause: Option<String>,
    expectation: Option<Expectation>,
}

impl Launch {
    /// Starts a helper for `task`. It gets `ends` as its standard streams, to
    /// pass on, and keeps `extra` open under its number.
    ///
    /// The two descriptors are opened to exec for the moment of the start. The
    /// agent has one thread, so nothing else starts in that moment.
    pub(crate) fn start(
        task: Task,
        ends: Ends,
        extra: Option<BorrowedFd<'_>>,
        reaper: &Arc<Reaper>,
    ) -> Result<Self, Failure> {
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("make a pipe", &errno.into()))?;
        let order = Order {
            report: write.as_raw_fd(),
            task,
        };
        let expectation = reaper.expect();
        for fd in [Some(write_end(&write)), extra].into_iter().flatten() {
            inherit(fd, true)?;
        }
        let started = spawn(&order, ends);
        if let Some(fd) = extra {
            inherit(fd, false)?;
        }
        started.map_err(|error| failed("start a helper", &error))?;
        let reports =
            Receiver::from_owned_fd(read).map_err(|error| failed("watch a helper", &error))?;
        Ok(Self {
            reports: BufReader::new(reports).lines(),
            cause: None,
            expectation: Some(expectation),
        })
    }

    /// Waits for the process that the helper starts, and claims its exit.
    pub(crate) async fn started(
        &mut self,
        reaper: &Reaper,
    ) -> Result<(Pid, Started, oneshot::Receiver<Exit>), Failure> {
        let result = match self.next().await {
            Some(Report::Started(started)) => Ok(started),
            Some(Report::Failed { kind, message }) => Err(self.failure(kind, message)),
            Some(Report::Trace(_)) | None => Err(self.failure(
                Kind::Internal,
                "the helper ended without a report: it was killed or ran out of memory".to_owned(),
            )),
        };
        let claimed = result.and_then(|started| {
            let pid = Pid::from_raw(started.pid)
                .ok_or_else(|| Failure::new(Code::Internal, "the helper reported no process"))?;
            Ok((pid, started, reaper.claim(pid)))
        });
        self.expectation = None;
        claimed
    }

    /// Waits until the program runs, which is when nobody can report any more.
    pub(crate) async fn executed(mut self) -> Result<(), Failure> {
        match self.next().await {
            Some(Report::Failed { kind, message }) => Err(self.failure(kind, message)),
            Some(Report::Started(_) | Report::Trace(_)) | None => Ok(()),
        }
    }

    /// Waits until the helper and all it has started are gone: until then they
    /// may still be clearing away what they made.
    pub(crate) async fn ended(mut self) {
        while self.next().await.is_some() {}
    }

    /// The next report that is not a trace.
    async fn next(&mut self) -> Option<Report> {
        while let Ok(Some(line)) = self.reports.next_line().await {
            match serde_json::from_str(&line) {
                Ok(Report::Trace(text)) => drop(self.cause.get_or_insert(text)),
                Ok(report) => return Some(report),
                Err(_) => {}
            }
        }
        None
    }

    /// Internal failures are a library's, told by what it logged first.
    fn failure(&self, kind: Kind, message: String) -> Failure {
        let message = match &self.cause {
            Some(cause) if kind == Kind::Internal => format!("{message}: {cause}"),
            _ => message,
        };
        Failure::new(kind.into(), message)
    }
}

fn write_end(fd: &OwnedFd) -> BorrowedFd<'_> {
    rustix::fd::AsFd::as_fd(fd)
}

fn inherit(fd: BorrowedFd<'_>, inherited: bool) -> Result<(), Failure> {
    let flags = if inherited {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    };
    fcntl_setfd(fd, flags).map_err(|errno| failed("pass a descriptor to a helper", &errno.into()))
}

fn spawn(order: &Order, ends: Ends) -> std::io::Result<()> {
    let order = serde_json::to_string(order)?;
    // The reaper waits for it, as for every child.
    Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(order)
        .env_clear()
        .stdin(Stdio::from(ends.stdin))
        .stdout(Stdio::from(ends.stdout))
        .stderr(Stdio::from(ends.stderr))
        .spawn()
        .map(drop)
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::Internal, format!("{what}: {error}"))
}
