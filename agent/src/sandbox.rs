//! The pod: what the host asks of it, apart from how it asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::Id;
use protocol::agent::{
    AttachDiskResponse, ContainerStatsResponse, CopiedVolume, CreateContainerRequest,
    CreateSandboxRequest, Event, ExecProcessRequest, HelloResponse, ResizeTerminalRequest,
    SetHugePagesRequest, SignalProcessRequest, UpdateContainerRequest, UpdateNetworkRequest,
};
use rustix::fd::OwnedFd;
use rustix::fs::Timespec;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::container::{self, Container};
use crate::disk::Disks;
use crate::error::AgentError;
use crate::events::Events;
use crate::helpers::Helpers;
use crate::huge_pages::HugePages;
use crate::memory::Memory;
use crate::oom::OomWatch;
use crate::pod::{self, PidNamespace, PodError, Share};
use crate::processors;
use crate::reaper::{self, Reaper};
use crate::registry::{Entry, Registry};
use crate::signal::Signal;
use crate::volumes::Volumes;

type Result<T, E = AgentError> = std::result::Result<T, E>;

/// What containers share with each other.
pub(crate) struct Services {
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) helpers: Arc<Helpers>,
    pub(crate) events: Arc<Events>,
    pub(crate) oom: Arc<OomWatch>,
    pub(crate) pid_namespace: PidNamespace,
    /// Whether the pod has a user namespace.
    pub(crate) in_user_namespace: AtomicBool,
}

/// The pod and its containers.
pub(crate) struct Sandbox {
    services: Arc<Services>,
    containers: Registry<Container>,
    created: AtomicBool,
    started: Timespec,
    memory: Memory,
    huge_pages: HugePages,
    share: Share,
    volumes: Volumes,
}

impl Sandbox {
    /// A pod without containers, in a guest whose user space began at `started`;
    /// its helpers come from `nursery`.
    pub(crate) fn new(started: Timespec, nursery: OwnedFd) -> std::io::Result<Self> {
        let reaper = Arc::new(Reaper::default());
        let events = Arc::new(Events::default());
        let oom = Arc::new(OomWatch::new(Arc::clone(&events))?);
        tokio::spawn(Arc::clone(&reaper).run(reaper::children()?));
        tokio::spawn(Arc::clone(&oom).run());
        let pid_namespace = PidNamespace::default();
        let services = Arc::new(Services {
            helpers: Arc::new(Helpers::new(Arc::clone(&reaper), nursery)),
            reaper,
            events,
            oom,
            pid_namespace,
            in_user_namespace: AtomicBool::new(false),
        });
        let (containers, created) = (Registry::default(), AtomicBool::new(false));
        Ok(Self {
            services,
            containers,
            created,
            started,
            memory: Memory::at_boot(),
            huge_pages: HugePages::default(),
            share: Share::default(),
            volumes: Volumes::default(),
        })
    }

    /// Who we are.
    pub(crate) fn describe(&self) -> HelloResponse {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        HelloResponse {
            protocol_version: protocol::PROTOCOL_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            boot_id: boot_id.unwrap_or_default().trim().to_owned(),
            userspace_started_ns: nanoseconds(self.started),
            ..Default::default()
        }
    }

    /// Makes the guest the pod of `request`; once.
    pub(crate) async fn create(&self, request: &CreateSandboxRequest) -> Result<()> {
        if self.created.swap(true, Ordering::Relaxed) {
            return Err(AgentError::SandboxExists);
        }
        let own = pod::set_up(request, &self.services.helpers).await?;
        self.services
            .in_user_namespace
            .store(own, Ordering::Relaxed);
        Ok(())
    }

    /// Has the guest take the disk of that name in a slot.
    pub(crate) async fn attach_disk(
        &self,
        slot: &str,
        serial: String,
    ) -> Result<AttachDiskResponse> {
        Ok(Disks::default().attach(slot, serial).await?)
    }

    /// Has the guest let go of it.
    pub(crate) async fn detach_disk(&self, slot: &str, serial: String) -> Result<()> {
        Ok(Disks::default().detach(slot, serial).await?)
    }

    /// Has the guest's first `online` processors online, and no other one.
    pub(crate) fn set_processors(&self, online: u32) -> Result<()> {
        // Milliseconds each, and only on request: the event loop waits for it.
        Ok(processors::set_online(online)?)
    }

    /// Waits until the guest uses `added_mib` more than it booted with.
    pub(crate) async fn await_memory(&self, added_mib: u64, patience: Duration) -> Result<()> {
        Ok(self.memory.await_added(added_mib, patience).await?)
    }

    /// Moves the wall clock; what it says then.
    pub(crate) fn adjust_clock(&self, by_ns: i64) -> Result<u64> {
        Ok(pod::adjust_clock(by_ns).map_err(PodError::Clock)?)
    }

    /// Gives the pod's interfaces what the host's have now.
    pub(crate) async fn update_network(&self, request: UpdateNetworkRequest) -> Result<()> {
        let own = self.services.in_user_namespace.load(Ordering::Relaxed);
        let update = move || pod::update_network(&request, own);
        let updated = tokio::task::spawn_blocking(update).await;
        Ok(updated.unwrap_or_else(|lost| std::panic::resume_unwind(lost.into_panic()))?)
    }

    /// Keeps huge pages for containers.
    pub(crate) async fn set_huge_pages(&self, request: SetHugePagesRequest) -> Result<()> {
        self.huge_pages.keep(request.pages).await?;
        Ok(pod::limit_memory(request.memory_max)?)
    }

    /// Has the kernel forget files that nobody uses.
    pub(crate) async fn forget_files(&self) -> Result<()> {
        Ok(pod::forget_files().await?)
    }

    /// Ends every process and writes back what the share still owes the host.
    pub(crate) fn shut_down(&self) {
        self.containers
            .all()
            .iter()
            .for_each(|container| container.kill());
        rustix::fs::sync();
    }

    pub(crate) fn events(&self) -> Result<UnboundedReceiver<Event>> {
        self.services
            .events
            .subscribe()
            .ok_or(AgentError::EventsTaken)
    }

    /// Makes a container up to its program; returns its first process's number.
    pub(crate) async fn create_container(
        &self,
        mut request: CreateContainerRequest,
    ) -> Result<u32> {
        if !self.created.load(Ordering::Relaxed) {
            return Err(AgentError::NoSandbox);
        }
        let id = Id::new(request.container_id.as_str())?;
        let reservation = self
            .containers
            .reserve(&id)
            .ok_or_else(|| AgentError::ContainerExists(id.clone()))?;
        let shown = std::mem::take(&mut request.share_paths);
        self.share.walk(shown).await;
        let copied = std::mem::take(&mut request.copied_volumes);
        let memory = std::mem::take(&mut request.memory_volumes);
        self.volumes.provide(copied, memory).await?;
        let joined = match request.processes_of.as_str() {
            "" => None,
            other => Some(self.container(other)?.pid_namespace()?),
        };
        let services = Arc::clone(&self.services);
        let container = container::create(id, request, joined, services).await?;
        let pid = container.pid();
        reservation.fill(container);
        Ok(pid)
    }

    /// Makes a copied volume what the share has at another revision.
    pub(crate) async fn refresh_volume(&self, volume: CopiedVolume) -> Result<()> {
        Ok(self.volumes.refresh(volume).await?)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        self.container(id)?.start().await
    }

    pub(crate) async fn delete_container(&self, id: &str) -> Result<()> {
        self.container(id)?.delete().await?;
        self.containers.remove(&Id::new(id)?);
        Ok(())
    }

    pub(crate) async fn pause_container(&self, id: &str) -> Result<()> {
        self.container(id)?.pause().await
    }

    pub(crate) async fn resume_container(&self, id: &str) -> Result<()> {
        self.container(id)?.resume().await
    }

    pub(crate) async fn update_container(&self, request: &UpdateContainerRequest) -> Result<()> {
        let container = self.container(&request.container_id)?;
        pod::limit_memory(request.memory_max)?;
        container.update(&request.resources).await
    }

    pub(crate) fn stats(&self, id: &str) -> Result<ContainerStatsResponse> {
        self.container(id)?.stats()
    }

    pub(crate) fn processes(&self, id: &str) -> Result<Vec<u32>> {
        self.container(id)?.processes()
    }

    pub(crate) async fn exec(&self, request: ExecProcessRequest) -> Result<u32> {
        let container = self.container(&request.container_id)?;
        container
            .exec(Id::new(request.exec_id.as_str())?, request)
            .await
    }

    /// Forgets an exec; a container's first process goes with the container.
    pub(crate) async fn delete_process(&self, container: &str, exec: &str) -> Result<()> {
        let container = self.container(container)?;
        container.delete_exec(&Id::new(exec)?).await
    }

    pub(crate) fn signal(&self, request: &SignalProcessRequest) -> Result<()> {
        let container = self.container(&request.container_id)?;
        let signal = Signal::new(request.signal)?;
        if request.exec_id.is_empty() {
            return container.signal(signal, request.all);
        }
        container.signal_exec(&Id::new(request.exec_id.as_str())?, signal)
    }

    pub(crate) fn resize(&self, request: &ResizeTerminalRequest) -> Result<()> {
        let container = self.container(&request.container_id)?;
        let (columns, rows) = (cells(request.columns)?, cells(request.rows)?);
        if request.exec_id.is_empty() {
            return container.resize(columns, rows);
        }
        container.resize_exec(&Id::new(request.exec_id.as_str())?, columns, rows)
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        let id = Id::new(id)?;
        match self.containers.get(&id) {
            Entry::Present(container) => Ok(container),
            Entry::Reserved => Err(AgentError::Incomplete(id)),
            Entry::Absent => Err(AgentError::NoContainer(id)),
        }
    }
}

fn cells(number: u32) -> Result<u16> {
    u16::try_from(number).map_err(|_| AgentError::Invalid {
        what: "not a size of a terminal",
        value: number.to_string(),
    })
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}
