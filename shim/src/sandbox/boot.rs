//! From a plan to a running VM with its agent.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::agent::{CreateSandboxRequest, HelloResponse};
use protocol::{Code, Failure, ports};
use tokio::net::UnixStream;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinSet;
use vmm_api::{MachineConfig, Pids, SandboxRecord};

use super::bound::bound;
use super::follow::Follower;
use super::journal::Journal;
use super::timeline::Timeline;
use super::{Plan, Processes, RunDir, Sandbox, aside, clock, relief};
use crate::agent::Agent;
use crate::devices::{self, Device, DeviceError, GUEST_CID, Handover};
use crate::host_cgroup::{CgroupError, HostCgroup};
use crate::huge_pages::HugePages;
use crate::ids::IdMap;
use crate::machine::{
    self, ChecksumError, Driver, ImageError, MachineFds, SelectError, StartError,
};
use crate::network::{self, Network, NetworkError};
use crate::share::{MountError, Share};
use crate::sizing::Size;
use crate::stdio::Streams;

/// virtio-fs tag of the share.
const SHARE_TAG: &str = "share";

/// Why a VM did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    #[error("make the sandbox's folder {}", path.display())]
    RunDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Share(#[from] MountError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Machine(#[from] StartError),
    #[error("the VM ended before its agent answered: {0}")]
    Died(String),
    #[error(
        "the agent in the VM did not answer within {seconds} s; {console}; raise guest.boot_timeout_s if the host is only slow"
    )]
    Silent { seconds: u64, console: String },
    #[error(transparent)]
    Agent(#[from] Failure),
}

/// Starts a VM. On failure everything that was started is gone again.
pub(crate) async fn boot(plan: &Plan) -> Result<Sandbox, BootError> {
    let timeline = Timeline::since(plan.began);
    timeline.end("shim", plan.began);
    machine::check_kernel(&plan.config.guest.kernel)?;
    machine::check_initramfs(&plan.config.guest.initramfs)?;
    let driver = machine::select(&plan.config)?;

    // Before anything is started, so that all of it is in there too.
    let begin = Instant::now();
    let cgroup = enter_cgroup(plan).await?;
    let overhead_mib = driver.overhead_mib();
    let bound = bound(cgroup.as_ref(), overhead_mib, &plan.size)?;
    timeline.end("host cgroup", begin);
    let begin = Instant::now();
    let run_dir = run_dir(plan)?;
    let share = Share::new(&run_dir.share())?;
    let (fs, relief) = devices::start_fs(&plan.config.devices, run_dir.path(), share.root())?;
    let (vsock, handover) = devices::start_vsock(&plan.config.devices, run_dir.path())?;
    timeline.end("devices", begin);
    let begin = Instant::now();
    let mut network = network(plan).await?;
    timeline.end("network", begin);
    let begin = Instant::now();
    let processes = start(plan, driver.as_ref(), fs, vsock, &mut network).await?;
    timeline.end("vmm spawn", begin);

    let streams = Streams::new();
    let control = receive(handover, streams.clone());
    let changes = network.changes.take();
    // Made when it is sent: it has the time in it.
    let request = request(plan, network, bound);
    let greeted = tokio::select! {
        greeted = greet(plan, &processes, control, request, &timeline) => greeted,
        Some(damage) = damage(plan) => Err(damage.into()),
    };
    let (agent, hello) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            processes.kill().await;
            return Err(reason(error, plan).await);
        }
    };
    let mut background = JoinSet::new();
    background.spawn(relief::bring(relief, agent.clone()));
    background.spawn(clock::follow(agent.clone()));
    if let Some(changes) = changes {
        background.spawn(network::follow(changes, agent.clone()));
    }
    let record = record(plan, driver.as_ref(), &hello, processes.pids());
    let journal = Journal::new(timeline, record);
    journal
        .write(&run_dir)
        .map_err(|source| BootError::RunDir {
            path: run_dir.path().to_owned(),
            source,
        })?;
    Ok(Sandbox {
        agent,
        streams,
        processes,
        share: Arc::new(Mutex::new(share)),
        journal,
        run_dir,
        guest: plan.config.guest.clone(),
        range: plan.range(),
        // Huge pages are kept when the first container is made.
        size: AsyncMutex::new(Size {
            huge_pages: HugePages::default(),
            ..plan.size
        }),
        volumes: AsyncMutex::default(),
        follower: Follower::default(),
        _background: background,
        cgroup: Mutex::new(cgroup),
        overhead_mib,
    })
}

/// A damaged kernel may also end the VM, or say anything.
async fn reason(error: BootError, plan: &Plan) -> BootError {
    match error {
        BootError::Checksum(_) => error,
        error => damage(plan).await.map_or(error, BootError::from),
    }
}

/// Whether kernel or initramfs are not what their checksums say.
async fn damage(plan: &Plan) -> Option<ChecksumError> {
    let guest = &plan.config.guest;
    for path in [guest.kernel.clone(), guest.initramfs.clone()] {
        let verified = tokio::task::spawn_blocking(move || machine::verify(&path)).await;
        if let Ok(Err(error)) = verified {
            return Some(error);
        }
    }
    None
}

/// Waits for the agent and has it set up the sandbox; says why when the VM
/// ends first.
async fn greet(
    plan: &Plan,
    processes: &Processes,
    control: oneshot::Receiver<UnixStream>,
    request: impl Future<Output = Result<CreateSandboxRequest, NetworkError>>,
    timeline: &Timeline,
) -> Result<(Agent, HelloResponse), BootError> {
    let limit = Duration::from_secs(plan.config.guest.boot_timeout_s.into());
    tokio::select! {
        greeted = set_up(control, request, timeline) => greeted,
        end = processes.ended() => Err(BootError::Died(end)),
        () = tokio::time::sleep(limit) => Err(BootError::Silent {
            seconds: limit.as_secs(),
            console: processes.machine.console.last_words(),
        }),
    }
}

async fn set_up(
    control: oneshot::Receiver<UnixStream>,
    request: impl Future<Output = Result<CreateSandboxRequest, NetworkError>>,
    timeline: &Timeline,
) -> Result<(Agent, HelloResponse), BootError> {
    let begin = Instant::now();
    let Ok(stream) = control.await else {
        // The vsock device has ended: whoever waits for that tells why.
        return std::future::pending().await;
    };
    timeline.end("kernel to agent", begin);
    let begin = Instant::now();
    let connected = Agent::connect(stream).await;
    let (agent, hello) = unless_closed(connected).await?;
    let created = agent.create_sandbox(&request.await?).await;
    unless_closed(created).await?;
    timeline.end("sandbox in guest", begin);
    Ok((agent, hello))
}

/// A closed connection is the echo of a VM that has ended, never the reason.
async fn unless_closed<T>(result: Result<T, Failure>) -> Result<T, Failure> {
    match result {
        Err(failure) if failure.code == Code::Unavailable => std::future::pending().await,
        other => other,
    }
}

async fn enter_cgroup(plan: &Plan) -> Result<Option<HostCgroup>, BootError> {
    let Some(path) = plan.cgroup.clone() else {
        return Ok(None);
    };
    // It waits for all processors, and dropped for processes to go.
    let entered = aside(move || HostCgroup::enter(&path)).await?;
    Ok(Some(entered))
}

fn run_dir(plan: &Plan) -> Result<RunDir, BootError> {
    let state_dir = &plan.config.state_dir;
    RunDir::create(state_dir, &plan.namespace, &plan.id).map_err(|source| BootError::RunDir {
        path: RunDir::path_of(state_dir, &plan.namespace, &plan.id),
        source,
    })
}

async fn network(plan: &Plan) -> Result<Network, BootError> {
    match &plan.netns {
        Some(path) => Ok(Network::mirror(path).await?),
        None => Ok(Network::default()),
    }
}

async fn start(
    plan: &Plan,
    driver: &dyn Driver,
    fs: Device,
    vsock: Device,
    network: &mut Network,
) -> Result<Processes, BootError> {
    let most = plan.range().most;
    let config = MachineConfig {
        vcpus: plan.size.vcpus,
        max_vcpus: most.vcpus,
        max_memory_mib: most.memory_mib,
        memory_mib: plan.size.memory_mib,
        kernel: plan.config.guest.kernel.clone(),
        initramfs: plan.config.guest.initramfs.clone(),
        kernel_parameters: plan.config.guest.kernel_parameters.clone(),
        guest_cid: GUEST_CID,
        share_tag: SHARE_TAG.to_owned(),
        nets: network.nets.clone(),
        disks: Vec::new(),
    };
    let fds = MachineFds {
        vsock: vsock.frontend,
        fs: fs.frontend,
        taps: std::mem::take(&mut network.taps),
    };
    let machine = driver.start(&config, fds).await?;
    Ok(Processes {
        machine,
        fs: fs.process,
        vsock: vsock.process,
    })
}

/// Sorts the guest's connections: the first control connection is the
/// agent's, streams go to who expects them, all else is closed.
fn receive(handover: Handover, streams: Streams) -> oneshot::Receiver<UnixStream> {
    let (sender, receiver) = oneshot::channel();
    let mut waiting = Some(sender);
    tokio::spawn(async move {
        while let Some(dialled) = handover.next().await {
            match dialled.port {
                ports::STDIO => streams.arrived(dialled.stream),
                ports::CONTROL => {
                    if let Some(first) = waiting.take() {
                        // Whoever waited may have given up.
                        let _ = first.send(dialled.stream);
                    }
                }
                _ => {}
            }
        }
    });
    receiver
}

async fn request(
    plan: &Plan,
    mut network: Network,
    bound: u64,
) -> Result<CreateSandboxRequest, NetworkError> {
    let network_sysctls = network.settings().await?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let ids = plan.ids.as_ref().map(IdMap::messages);
    let (uid_mappings, gid_mappings) = ids.unwrap_or_default();
    Ok(CreateSandboxRequest {
        sandbox_id: plan.id.clone(),
        hostname: plan.hostname.clone(),
        sysctls: plan.sysctls.clone(),
        shm_size: plan.shm_size,
        share_tag: SHARE_TAG.to_owned(),
        network: Some(network.state).into(),
        loopback: network.loopback.into(),
        memory_max: bound,
        uid_mappings,
        gid_mappings,
        network_sysctls,
        wall_clock_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        ..Default::default()
    })
}

fn record(plan: &Plan, driver: &dyn Driver, hello: &HelloResponse, pids: Pids) -> SandboxRecord {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(128).collect();
    let now = time::OffsetDateTime::now_utc();
    SandboxRecord {
        sandbox_id: plan.id.clone(),
        namespace: plan.namespace.clone(),
        driver: driver.name(),
        vcpus: plan.size.vcpus,
        memory_mib: plan.size.memory_mib,
        guest_kernel: short(&hello.kernel_release),
        boot_id: short(&hello.boot_id),
        agent_version: short(&hello.agent_version),
        pids,
        started_at: now
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_default(),
        ..Default::default()
    }
}
