//! A pod's VM and everything on the host that belongs to it.
//!
//! ```text
//! boot:  control group → run dir → share → fs, vsock processes → network → machine
//!                                   agent's connection → hello → sandbox
//! stop:  agent syncs → machine → device processes → share → run dir
//!        → control group
//! ```
//!
//! Every part is a guard that takes itself away when dropped; `stop` only
//! makes sure that it happens in order and is over when it returns.

mod boot;
mod bound;
mod clock;
mod follow;
mod huge_pages;
mod journal;
mod plan;
mod processes;
mod range;
mod relief;
mod resize;
mod run_dir;
mod timeline;
mod volumes;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::Id;
use protocol::agent::{ContainerStatsResponse, CopiedVolume};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::host_cgroup::HostCgroup;
use crate::share::Share;
use crate::sizing::Size;
use crate::spec::Written;
use crate::stdio::Streams;

pub(crate) use boot::{BootError, boot};
use follow::Follower;
use journal::Journal;
pub(crate) use plan::{Plan, PlanError};
use processes::Processes;
pub(crate) use range::Range;
pub(crate) use resize::ResizeError;
pub(crate) use run_dir::RunDir;
pub(crate) use timeline::LAST as START_SPAN;
pub(crate) use volumes::VolumeError;
use volumes::Volumes;

/// How long the guest may take to write back what it holds.
const SYNC_TIMEOUT: Duration = Duration::from_secs(3);

/// How long taking away what the guest was shown may take: longer where a mount waits
/// for a file system that does not answer.
const UNMOUNT: Duration = Duration::from_secs(5);

/// A running VM with its agent.
///
/// The order of the fields is the order in which they are taken away.
pub(crate) struct Sandbox {
    pub(crate) agent: Agent,
    pub(crate) streams: Streams,
    processes: Processes,
    share: Arc<Mutex<Share>>,
    journal: Journal,
    run_dir: RunDir,
    /// What sizes are asked for is added to.
    guest: config::Guest,
    range: Range,
    /// Its size now. Held while it changes.
    size: AsyncMutex<Size>,
    /// Held while one comes or goes.
    volumes: AsyncMutex<Volumes>,
    follower: Follower,
    /// What is done for the guest unasked; it ends with the sandbox.
    _background: JoinSet<()>,
    cgroup: Mutex<Option<HostCgroup>>,
    /// MiB of the host's memory that the VM takes beside its containers.
    overhead_mib: u32,
}

impl Sandbox {
    /// Host pid that stands for the pod: the VMM's.
    pub(crate) fn pid(&self) -> u32 {
        self.processes.machine.process.pid()
    }

    /// Does `work` on what the guest may see of the host.
    pub(crate) async fn share<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Share) -> T + Send + 'static,
    ) -> T {
        let share = Arc::clone(&self.share);
        aside(move || work(&mut share.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Takes away what was shown for a container, at once or when the file system
    /// answers again.
    pub(crate) async fn hide(&self, container: &Id) {
        let container = container.to_string();
        let removed = self.share(move |share| share.remove(&container));
        let _ = tokio::time::timeout(UNMOUNT, removed).await;
    }

    fn cgroup(&self) -> MutexGuard<'_, Option<HostCgroup>> {
        self.cgroup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pod's processes use, as the host counts it; `None` where they are in
    /// no group of theirs.
    pub(crate) fn figures(&self) -> Option<ContainerStatsResponse> {
        self.cgroup().as_ref().map(HostCgroup::figures)
    }

    /// Has the guest's copies of `volumes` follow them from now on; what they are
    /// now.
    ///
    /// # Errors
    ///
    /// One is not what kubelet writes any more.
    pub(crate) fn follow(&self, volumes: &[Written]) -> io::Result<Vec<CopiedVolume>> {
        let follow = |volume| self.follower.follow(&self.agent, volume);
        volumes.iter().map(follow).collect()
    }

    /// How readily the kernel ends the VM when the host has no memory left.
    pub(crate) fn set_oom_score(&self, score: i32) {
        self.processes.set_oom_score(score);
    }

    /// Ends the span `name` of the pod's start, which began at `begin`.
    pub(crate) fn span(&self, name: &str, begin: Instant) {
        self.journal.end(name, begin, &self.run_dir);
    }

    /// What is written down about it, JSON.
    pub(crate) fn record(&self) -> Option<String> {
        serde_json::to_string(&self.journal.whole()).ok()
    }

    /// Waits for the VM's end, which comes with the end of any of its
    /// processes, and says why it came.
    pub(crate) async fn ended(&self) -> String {
        self.processes.ended().await
    }

    /// Ends the VM and takes away everything of it. Can be called again.
    pub(crate) async fn stop(&self) {
        tokio::select! {
            () = self.agent.shutdown(SYNC_TIMEOUT) => {}
            _ = self.processes.machine.process.ended() => {}
        }
        self.processes.kill().await;
        // It goes with the shim at the latest.
        let _ = tokio::time::timeout(UNMOUNT, self.share(Share::close)).await;
        self.run_dir.remove();
        let cgroup = self.cgroup().take();
        // It waits for the kernel.
        aside(move || drop(cgroup)).await;
    }
}

/// Does `work` on another thread: a file system or a disk of the host's may not answer,
/// a server's that is gone, and the shim's own thread has other things to do.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic()))
}

#[cfg(test)]
use {timeline::Timeline, vmm_api::SandboxRecord};

#[cfg(test)]
impl Sandbox {
    /// A sandbox whose processes only sleep.
    pub(crate) fn without_vm(agent: Agent, folder: &std::path::Path) -> Self {
        let process = || {
            let path = std::path::Path::new("/bin/sleep");
            let program = crate::process::Program {
                name: "sleep",
                path,
                key: "none",
                rights: crate::jail::Rights::Inherited,
            };
            crate::process::Process::spawn(&program, &["1000".to_owned()], Vec::new()).unwrap()
        };
        let console = crate::machine::Console::default();
        let machine = crate::machine::Machine {
            process: process(),
            console,
            verdict: crate::machine::Verdict::none(),
            adjust: Box::new(crate::machine::Fixed),
        };
        let processes = Processes {
            machine,
            fs: process(),
            vsock: process(),
        };
        let run_dir = RunDir::create(folder, "k8s.io", "s").unwrap();
        let share = Arc::new(Mutex::new(Share::unmounted(&run_dir.share())));
        let guest = config::Guest::default();
        let size = Size {
            vcpus: 1,
            memory_mib: 2048,
            huge_pages: crate::huge_pages::HugePages::default(),
        };
        let range = Range::of(&guest, size);
        Self {
            agent,
            streams: Streams::new(),
            processes,
            share,
            journal: Journal::new(Timeline::since(Instant::now()), SandboxRecord::default()),
            run_dir,
            guest,
            range,
            size: AsyncMutex::new(size),
            volumes: AsyncMutex::default(),
            follower: Follower::default(),
            _background: JoinSet::new(),
            cgroup: Mutex::default(),
            overhead_mib: 0,
        }
    }

    /// Ends the VM as if it had died.
    pub(crate) async fn kill_processes(&self) {
        self.processes.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, _guest) = tokio::net::UnixStream::pair().unwrap();
        let sandbox = Sandbox::without_vm(Agent::unchecked(stream), folder.path());
        let (answer, file_system) = std::sync::mpsc::channel();
        let shown = sandbox.share(move |_| file_system.recv().unwrap());
        let others = async {
            tokio::task::yield_now().await;
            answer.send("at last").unwrap();
        };
        // On one thread, as the shim has it.
        assert_eq!(tokio::join!(shown, others).0, "at last");
        sandbox.kill_processes().await;
    }
}
