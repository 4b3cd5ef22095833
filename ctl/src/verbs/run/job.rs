//! The pods of one call: started together, and together taken away.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use tokio::sync::watch;

use super::{Interruption, interruption, report};
use crate::cri::Client;
use crate::manifest::Pod;
use crate::pods::{
    Display, Folders, Grace, Launcher, PodOutcome, SuperviseError, Supervisor, stop_uid,
    teardown_uid,
};
use crate::terminal::print;

/// The pods of one call.
pub(super) struct Job {
    pub(super) launcher: Launcher,
    pub(super) uids: Vec<String>,
    pub(super) display: Display,
}

impl Job {
    fn client(&self) -> &Client {
        &self.launcher.client
    }

    fn folders(&self) -> &Folders {
        &self.launcher.folders
    }

    /// # Errors
    /// That one of the pods is there already.
    pub(super) async fn check_absent(&self, pods: &[Pod]) -> anyhow::Result<()> {
        for pod in pods {
            self.launcher.check_absent(pod).await?;
        }
        Ok(())
    }

    /// Takes away what was started where the start failed or was interrupted.
    pub(super) async fn keep_or_remove(
        &self,
        started: anyhow::Result<ControlFlow<Interruption, Vec<Supervisor>>>,
    ) -> anyhow::Result<ControlFlow<Interruption, Vec<Supervisor>>> {
        if let Ok(ControlFlow::Continue(_)) = started {
            return started;
        }
        if let Err(left) = self.remove(Grace::Fixed(Duration::ZERO)).await {
            report(&format!("warning: {left:#}"));
        }
        started
    }

    pub(super) async fn start(
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
    pub(super) async fn stop(
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
    pub(super) async fn ended(&self, rm: bool) -> anyhow::Result<()> {
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

    pub(super) async fn remove(&self, grace: Grace) -> anyhow::Result<()> {
        let uids = self.uids.iter();
        let all = uids.map(|uid| teardown_uid(self.client(), self.folders(), uid, grace));
        // One that fails does not keep the others.
        for removed in join_all(all).await {
            removed.context("cannot remove a pod; `kata-mshv rm -f` tries again")?;
        }
        Ok(())
    }
}
