//! The start of a process through a helper, together with its streams.

use std::path::PathBuf;

use protocol::Failure;
use protocol::agent::Stdio;
use rustix::fd::BorrowedFd;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use super::launch::Launch;
use crate::helper::Task;
use crate::helper::report::Started;
use crate::process::Process;
use crate::reaper::{Exit, Reaper};
use crate::sandbox::Services;
use crate::stdio::{self, Console, Ends, Streams, Tokens};

/// A process that exists, up to its program.
pub(super) struct Birth {
    pub(super) process: Process,
    pub(super) started: Started,
    pub(super) exit: oneshot::Receiver<Exit>,
    /// What the process still reports of itself.
    pub(super) launch: Launch,
}

impl Birth {
    /// Has a helper do `task`, which is told the socket for the terminal when
    /// `stdio` asks for one. On failure nothing of the process is left.
    pub(super) async fn give(
        task: impl FnOnce(Option<PathBuf>) -> Task,
        stdio: &Stdio,
        init: Option<BorrowedFd<'_>>,
        services: &Services,
    ) -> Result<Self, Failure> {
        let tokens = Tokens::new(stdio)?;
        let (helpers, reaper) = (&services.helpers, &services.reaper);
        if stdio.terminal {
            let console = Console::listen()?;
            let task = task(Some(console.path().to_owned()));
            let launch = Launch::start(&task, &Ends::null()?, init, helpers)?;
            let (launch, begun) = begin(launch, reaper).await?;
            let streams = match console.receive().await {
                Ok(master) => Streams::connect_terminal(tokens, master).await,
                Err(failure) => Err(failure),
            };
            return begun.finish(streams, launch).await;
        }
        let (ends, wires) = stdio::pipes(tokens)?;
        let launch = Launch::start(&task(None), &ends, init, helpers)?;
        // The process's ends are its own from here on.
        drop(ends);
        let (begun, streams) = tokio::join!(begin(launch, reaper), Streams::connect(wires));
        let (launch, begun) = begun?;
        begun.finish(streams, launch).await
    }
}

/// A process whose streams are not there yet.
struct Begun {
    pid: Pid,
    started: Started,
    exit: oneshot::Receiver<Exit>,
}

async fn begin(mut launch: Launch, reaper: &Reaper) -> Result<(Launch, Begun), Failure> {
    match launch.started(reaper).await {
        Ok((pid, started, exit)) => Ok((launch, Begun { pid, started, exit })),
        Err(failure) => {
            launch.ended().await;
            Err(failure)
        }
    }
}

impl Begun {
    async fn finish(
        self,
        streams: Result<Streams, Failure>,
        launch: Launch,
    ) -> Result<Birth, Failure> {
        let Self { pid, started, exit } = self;
        match streams {
            Ok(streams) => {
                let process = Process::new(pid, streams);
                Ok(Birth {
                    process,
                    started,
                    exit,
                    launch,
                })
            }
            Err(failure) => {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
                let _ = exit.await;
                // Its own failure is the reason for the other.
                launch.executed().await.and(Err(failure))
            }
        }
    }
}
