//! `kata-mshv run POD.yaml`

use std::future::{Future, pending};
use std::io::{Read, stdin};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::{join_all, try_join_all};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Global;
use crate::cri::Client;
use crate::duration::parse_duration;
use crate::manifest::{self, Pod, RestartPolicy};
use crate::pods::{
    Display, Folders, Grace, Launcher, PodOutcome, SuperviseError, Supervisor, stop_uid,
    teardown_uid, this_node,
};
use crate::terminal::print;

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
    let pods = read_manifest(&args)?;
    let job = Job {
        uids: pods.iter().map(|pod| pod.metadata.uid.clone()).collect(),
        display: display(&pods, !args.detach),
        launcher: Launcher {
            client: global.client().await?,
            node: Arc::new(this_node()),
            folders: global.folders(),
        },
    };
    let mut interrupted = pin!(interruption(args.timeout)?);
    let (stop, stopped) = watch::channel(false);

    let started = tokio::select! {
        started = job.start(pods, stopped) => started,
        why = &mut interrupted => {
            report("interrupted: removing what was started");
            job.remove(Grace::Fixed(Duration::ZERO)).await?;
            return Ok(why.exit_code());
        }
    };
    let mut supervisors = match started {
        Ok(supervisors) => supervisors,
        Err(error) => {
            if let Err(left) = job.remove(Grace::Fixed(Duration::ZERO)).await {
                report(&format!("warning: {left:#}"));
            }
            return Err(error);
        }
    };
    if args.detach {
        return Ok(0);
    }

    let mut ends = pin!(try_join_all(supervisors.iter_mut().map(Supervisor::finish)));
    tokio::select! {
        outcomes = &mut ends => {
            job.ended(args.rm).await?;
            Ok(exit_code(&outcomes?))
        }
        why = &mut interrupted => {
            // Nobody listens where the last container has just ended.
            let _ = stop.send(true);
            job.stop(&mut ends).await?;
            Ok(why.exit_code())
        }
    }
}

fn read_manifest(args: &Args) -> anyhow::Result<Vec<Pod>> {
    let name = args.file.display();
    let text = match args.file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(&args.file),
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let manifest = manifest::parse(&text).with_context(|| format!("{name}"))?;
    for warning in &manifest.warnings {
        report(&format!("warning: {name}: {warning}"));
    }
    let restarted = |pod: &&Pod| pod.spec.restart_policy != RestartPolicy::Never;
    for pod in manifest
        .pods
        .iter()
        .filter(|_| args.detach)
        .filter(restarted)
    {
        let (name, policy) = (pod.full_name(), pod.spec.restart_policy);
        report(&format!(
            "warning: pod {name}: restartPolicy {policy:?} has no effect with --detach"
        ));
    }
    Ok(manifest.pods)
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

/// The pods of one call.
struct Job {
    launcher: Launcher,
    uids: Vec<String>,
    display: Display,
}

impl Job {
    fn client(&self) -> &Client {
        &self.launcher.client
    }

    fn folders(&self) -> &Folders {
        &self.launcher.folders
    }

    async fn start(
        &self,
        pods: Vec<Pod>,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Vec<Supervisor>> {
        let mut supervisors = Vec::new();
        for pod in pods {
            supervisors.push(self.start_one(pod, stop.clone()).await?);
        }
        Ok(supervisors)
    }

    async fn start_one(&self, pod: Pod, stop: watch::Receiver<bool>) -> anyhow::Result<Supervisor> {
        let name = pod.full_name();
        let begin = Instant::now();
        let pulling = |image: &str| report(&format!("pulling {image}"));
        let running = self.launcher.launch(pod, pulling).await;
        let running = Arc::new(running.with_context(|| format!("cannot start pod {name}"))?);
        let up = begin.elapsed().as_secs_f64();
        report(&format!("pod {name}: sandbox up after {up:.2} s"));
        if !self.display.attached {
            print(&format!("{name} {}\n", running.sandbox_id)).context("cannot print")?;
        }
        let mut supervisor = Supervisor::new(running, stop, self.display);
        supervisor
            .start()
            .await
            .with_context(|| format!("cannot run pod {name}"))?;
        let ready = begin.elapsed().as_secs_f64();
        report(&format!(
            "pod {name}: containers started after {ready:.2} s"
        ));
        Ok(supervisor)
    }

    /// Stops the pods within their grace period, or at once when asked again,
    /// while their logs go on to the end; then removes them.
    async fn stop(
        &self,
        ends: impl Future<Output = Result<Vec<PodOutcome>, SuperviseError>>,
    ) -> anyhow::Result<()> {
        report("stopping the containers; press Ctrl-C again to kill them");
        let again = interruption(None)?;
        let both = async { tokio::join!(self.remove(Grace::OfPod), ends) };
        tokio::select! {
            (removed, _) = both => return removed,
            _ = again => {}
        }
        self.remove(Grace::Fixed(Duration::ZERO)).await
    }

    /// The containers have ended: their VMs are given back at once, what is
    /// left of the pods goes with `rm`.
    async fn ended(&self, rm: bool) -> anyhow::Result<()> {
        if rm {
            return self.remove(Grace::OfPod).await;
        }
        for uid in &self.uids {
            stop_uid(self.client(), uid).await?;
        }
        report(
            "the pods have ended; `kata-mshv logs` shows their logs, `kata-mshv rm` removes them",
        );
        Ok(())
    }

    async fn remove(&self, grace: Grace) -> anyhow::Result<()> {
        let uids = self.uids.iter();
        let all = uids.map(|uid| teardown_uid(self.client(), self.folders(), uid, grace));
        // One that fails does not keep the others.
        for removed in join_all(all).await {
            removed.context("cannot remove a pod; `kata-mshv rm -f` tries again")?;
        }
        Ok(())
    }
}
