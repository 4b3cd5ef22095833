//! `kata-mshv run POD.yaml`

mod input;
mod job;

use std::future::{Future, pending};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Global;
use crate::duration::parse_duration;
use crate::manifest::Pod;
use crate::pods::{Display, Launcher, PodOutcome, Supervisor, this_node};
use job::Job;

/// Run the pods of a manifest, print their logs, and wait for their end.
///
/// Init containers run first, one after the other. The exit code is the first
/// one of a container that is not 0. Ctrl-C stops the pods and removes them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A manifest of v1 Pods, `-` for standard input.
    file: PathBuf,

    /// Return when all containers are started. Nothing restarts them then.
    #[arg(short, long, conflicts_with = "rm")]
    detach: bool,

    /// Remove the pods when their containers have ended.
    #[arg(long)]
    rm: bool,

    /// Stop and remove the pods after this time (exit code 124); with --detach,
    /// when they have not started by then.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

const TIMED_OUT: i32 = 124;

/// Why the pods are stopped before their end.
#[derive(Debug, Clone, Copy)]
enum Interruption {
    Signal(i32),
    Timeout,
}

impl Interruption {
    fn exit_code(self) -> i32 {
        match self {
            Self::Signal(number) => 128 + number,
            Self::Timeout => TIMED_OUT,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// What keeps a pod from starting, or the runtime from being asked.
pub async fn run(global: &Global, args: Args) -> anyhow::Result<i32> {
    let pods = input::read(&args.file, args.detach)?;
    let job = Job {
        uids: pods.iter().map(|pod| pod.metadata.uid.clone()).collect(),
        display: display(&pods, !args.detach),
        launcher: Launcher {
            client: global.client().await?,
            node: Arc::new(this_node()),
            folders: global.folders(),
        },
    };
    // From here on what has these uids is of this call, and goes if it fails.
    job.check_absent(&pods).await?;
    let mut interrupted = pin!(interruption(args.timeout)?);
    let (stop, stopped) = watch::channel(false);
    let started = tokio::select! {
        started = job.start(pods, stopped) => started.map(ControlFlow::Continue),
        why = &mut interrupted => Ok(ControlFlow::Break(why)),
    };
    match job.keep_or_remove(started).await? {
        ControlFlow::Break(why) => Ok(why.exit_code()),
        ControlFlow::Continue(_) if args.detach => Ok(0),
        ControlFlow::Continue(supervisors) => {
            let code = until_end(&job, &args, supervisors, &stop, interrupted).await;
            code.map_err(|error| error.context("the pods were lost sight of"))
        }
    }
}

/// Waits for the end of the pods, or stops them.
async fn until_end(
    job: &Job,
    args: &Args,
    mut supervisors: Vec<Supervisor>,
    stop: &watch::Sender<bool>,
    interrupted: impl Future<Output = Interruption>,
) -> anyhow::Result<i32> {
    let mut ends = pin!(try_join_all(supervisors.iter_mut().map(Supervisor::finish)));
    tokio::select! {
        outcomes = &mut ends => {
            job.ended(args.rm).await?;
            Ok(exit_code(&outcomes?))
        }
        why = interrupted => {
            // Nobody listens where the last container has just ended.
            let _ = stop.send(true);
            job.stop(&mut ends).await?;
            Ok(why.exit_code())
        }
    }
}

fn report(line: &str) {
    eprintln!("{line}");
}

fn display(pods: &[Pod], attached: bool) -> Display {
    let prefix = match pods {
        [pod] if pod.all_containers().count() == 1 => |_: &str, _: &str| String::new(),
        [_] => |_: &str, container: &str| format!("[{container}] "),
        _ => |pod: &str, container: &str| format!("[{pod} {container}] "),
    };
    Display {
        report,
        attached,
        prefix,
    }
}

fn exit_code(outcomes: &[PodOutcome]) -> i32 {
    let codes = outcomes.iter().map(PodOutcome::exit_code);
    codes.into_iter().find(|code| *code != 0).unwrap_or(0)
}

/// The first of: SIGINT, SIGTERM, the time running out. Signals are caught from
/// the call on.
fn interruption(limit: Option<Duration>) -> anyhow::Result<impl Future<Output = Interruption>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let timeout = async move {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => Interruption::Signal(SignalKind::interrupt().as_raw_value()),
            _ = terminate.recv() => Interruption::Signal(SignalKind::terminate().as_raw_value()),
            () = timeout => Interruption::Timeout,
        }
    })
}
