//! Starting a helper and hearing what it reports.

use std::sync::Arc;

use protocol::{Code, Failure};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use crate::helper::Task;
use crate::helper::order::Descriptors;
use crate::helper::report::{Kind, Report, Started};
use crate::helpers::Helpers;
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
    /// Gives `task` to a helper, with `ends` as the standard streams of what it
    /// is to start; `init` is the first process of the container it is about.
    pub(crate) fn start(
        task: &Task,
        ends: &Ends,
        init: Option<BorrowedFd<'_>>,
        helpers: &Arc<Helpers>,
    ) -> Result<Self, Failure> {
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("make a pipe", &errno.into()))?;
        let descriptors = Descriptors {
            report: write.as_fd(),
            streams: [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()],
            init,
        };
        let expectation = helpers.reaper.expect();
        let given = helpers.give(task, &descriptors);
        given.map_err(|error| failed("start a helper", &error))?;
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

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::Internal, format!("{what}: {error}"))
}
