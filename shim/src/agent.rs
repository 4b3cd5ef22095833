//! The shim's side of the connection to the agent in the guest.

use std::time::Duration;

use protocol::agent::{
    AdjustClockRequest, AttachDiskRequest, AttachDiskResponse, AwaitMemoryRequest,
    ContainerRequest, ContainerStatsResponse, CopiedVolume, CreateContainerRequest,
    CreateSandboxRequest, DetachDiskRequest, Empty, Event, ExecProcessRequest, HelloRequest,
    HelloResponse, ProcessRequest, ResizeTerminalRequest, SetHugePagesRequest,
    SetProcessorsRequest, SignalProcessRequest, UpdateContainerRequest, UpdateNetworkRequest,
};
use protocol::agent_ttrpc::AgentClient;
use protocol::{Code, Failure, PROTOCOL_VERSION};
use tokio::net::UnixStream;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::asynchronous::{Client, ClientStreamReceiver};
use ttrpc::context::{self, Context};

/// An answer that takes longer is not coming: every call is local and the
/// longest, creating a container, takes milliseconds, on a busy host under
/// emulation seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same for what is built and started: many pods may be at it at once. kubelet
/// waits for two minutes.
const BUILD: Duration = Duration::from_secs(60);

/// The agent is told to give up too, later than we do: its word would be another.
const LATER: Duration = Duration::from_secs(1);

/// Characters of a failure that is told on: an error with all its causes is shorter.
const LONGEST_MESSAGE: usize = 1024;

/// The agent, after its hello.
#[derive(Clone)]
pub(crate) struct Agent {
    client: AgentClient,
}

type Result<T> = std::result::Result<T, Failure>;

impl Agent {
    /// Says hello over a connection that the guest has dialled.
    ///
    /// # Errors
    ///
    /// An agent of another protocol version is refused.
    pub(crate) async fn connect(stream: UnixStream) -> Result<(Self, HelloResponse)> {
        let agent = Self {
            client: AgentClient::new(Client::new(Socket::new(stream))),
        };
        let request = HelloRequest {
            protocol_version: PROTOCOL_VERSION,
            ..Default::default()
        };
        let hello = ask(agent.client.hello(deadline(), &request)).await?;
        if hello.protocol_version == PROTOCOL_VERSION {
            return Ok((agent, hello));
        }
        Err(Failure::new(
            Code::FailedPrecondition,
            format!(
                "the agent in the guest ({}) speaks protocol version {}, this shim version \
                 {PROTOCOL_VERSION}: install shim and initramfs of one release",
                hello.agent_version.chars().take(64).collect::<String>(),
                hello.protocol_version,
            ),
        ))
    }

    /// Without a hello, for tests of what comes after it.
    #[cfg(test)]
    pub(crate) fn unchecked(stream: UnixStream) -> Self {
        Self {
            client: AgentClient::new(Client::new(Socket::new(stream))),
        }
    }

    pub(crate) async fn create_sandbox(&self, request: &CreateSandboxRequest) -> Result<()> {
        let build = self.client.create_sandbox(until(BUILD), request);
        ask_within(BUILD, build).await.map(drop)
    }

    /// Has the guest take a disk, which is in `slot` or comes by itself.
    pub(crate) async fn attach_disk(&self, slot: &str, serial: &str) -> Result<AttachDiskResponse> {
        let request = AttachDiskRequest {
            slot: slot.to_owned(),
            serial: serial.to_owned(),
            ..Default::default()
        };
        ask(self.client.attach_disk(deadline(), &request)).await
    }

    /// Has the guest let go of a disk that nothing uses.
    pub(crate) async fn detach_disk(&self, slot: &str, serial: &str) -> Result<()> {
        let request = DetachDiskRequest {
            slot: slot.to_owned(),
            serial: serial.to_owned(),
            ..Default::default()
        };
        ask(self.client.detach_disk(deadline(), &request))
            .await
            .map(drop)
    }

    /// Has the guest's first `online` processors online, and no other one.
    pub(crate) async fn set_processors(&self, online: u32) -> Result<()> {
        let request = SetProcessorsRequest {
            online,
            ..Default::default()
        };
        ask(self.client.set_processors(deadline(), &request))
            .await
            .map(drop)
    }

    /// Waits until the guest uses `added_mib` more than it booted with;
    /// `patience` is shorter than ours.
    pub(crate) async fn await_memory(&self, added_mib: u64, patience: Duration) -> Result<()> {
        let request = AwaitMemoryRequest {
            added_mib,
            patience_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            ..Default::default()
        };
        ask(self.client.await_memory(deadline(), &request))
            .await
            .map(drop)
    }

    /// Moves the guest's wall clock by so many nanoseconds; what it says then, in
    /// nanoseconds since the epoch.
    pub(crate) async fn adjust_clock(&self, by_ns: i64) -> Result<u64> {
        let request = AdjustClockRequest {
            by_ns,
            ..Default::default()
        };
        let answer = ask(self.client.adjust_clock(deadline(), &request)).await?;
        Ok(answer.wall_clock_ns)
    }

    /// Gives the guest's interfaces what the host's have now.
    pub(crate) async fn update_network(&self, request: &UpdateNetworkRequest) -> Result<()> {
        ask(self.client.update_network(deadline(), request))
            .await
            .map(drop)
    }

    /// Has the guest's kernel keep huge pages for containers.
    pub(crate) async fn set_huge_pages(&self, request: &SetHugePagesRequest) -> Result<()> {
        ask(self.client.set_huge_pages(deadline(), request))
            .await
            .map(drop)
    }

    /// Has the guest's kernel forget files that nobody uses.
    pub(crate) async fn forget_files(&self) -> Result<()> {
        ask(self.client.forget_files(deadline(), &Empty::default()))
            .await
            .map(drop)
    }

    pub(crate) async fn shutdown(&self, limit: Duration) {
        // The guest may be gone before its answer is: both are what is wanted.
        let _ = self
            .client
            .shutdown(timeout(limit), &Empty::default())
            .await;
    }

    pub(crate) async fn create_container(&self, request: &CreateContainerRequest) -> Result<()> {
        let build = self.client.create_container(until(BUILD), request);
        ask_within(BUILD, build).await.map(drop)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        let container = container(id);
        let start = self.client.start_container(until(BUILD), &container);
        ask_within(BUILD, start).await.map(drop)
    }

    pub(crate) async fn delete_container(&self, id: &str) -> Result<()> {
        ask(self.client.delete_container(deadline(), &container(id)))
            .await
            .map(drop)
    }

    pub(crate) async fn pause_container(&self, id: &str) -> Result<()> {
        ask(self.client.pause_container(deadline(), &container(id)))
            .await
            .map(drop)
    }

    pub(crate) async fn resume_container(&self, id: &str) -> Result<()> {
        ask(self.client.resume_container(deadline(), &container(id)))
            .await
            .map(drop)
    }

    pub(crate) async fn update_container(&self, request: &UpdateContainerRequest) -> Result<()> {
        ask(self.client.update_container(deadline(), request))
            .await
            .map(drop)
    }

    pub(crate) async fn stats(&self, id: &str) -> Result<ContainerStatsResponse> {
        ask(self.client.container_stats(deadline(), &container(id))).await
    }

    pub(crate) async fn pids(&self, id: &str) -> Result<Vec<u32>> {
        let answer = ask(self.client.list_processes(deadline(), &container(id))).await?;
        Ok(answer.pids)
    }

    /// Guest pid of the new process.
    pub(crate) async fn exec(&self, request: &ExecProcessRequest) -> Result<u32> {
        let answer = ask(self.client.exec_process(deadline(), request)).await?;
        Ok(answer.pid)
    }

    pub(crate) async fn delete_process(&self, container_id: &str, exec_id: &str) -> Result<()> {
        let request = ProcessRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            ..Default::default()
        };
        ask(self.client.delete_process(deadline(), &request))
            .await
            .map(drop)
    }

    pub(crate) async fn signal(&self, request: &SignalProcessRequest) -> Result<()> {
        ask(self.client.signal_process(deadline(), request))
            .await
            .map(drop)
    }

    pub(crate) async fn resize(&self, request: &ResizeTerminalRequest) -> Result<()> {
        ask(self.client.resize_terminal(deadline(), request))
            .await
            .map(drop)
    }

    /// Has the guest copy a volume that has changed.
    pub(crate) async fn refresh_volume(&self, volume: &CopiedVolume) -> Result<()> {
        ask(self.client.refresh_volume(deadline(), volume))
            .await
            .map(drop)
    }

    /// Everything that happens unasked, until the guest is gone.
    pub(crate) async fn events(&self) -> Result<ClientStreamReceiver<Event>> {
        let forever = Context::default();
        let events = self.client.events(forever, &Empty::default()).await;
        events.map_err(failure)
    }
}

fn container(id: &str) -> ContainerRequest {
    ContainerRequest {
        container_id: id.to_owned(),
        ..Default::default()
    }
}

async fn ask<T>(call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
    ask_within(TIMEOUT, call).await
}

async fn ask_within<T>(limit: Duration, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
    let answered = tokio::time::timeout(limit, call).await;
    answered.map_err(|_| silent(limit))?.map_err(failure)
}

fn silent(limit: Duration) -> Failure {
    let seconds = limit.as_secs();
    Failure::new(
        Code::DeadlineExceeded,
        format!("the agent in the guest did not answer within {seconds} s"),
    )
}

/// The guest's words: they are read on terminals, and may be of any length.
fn failure(error: ttrpc::Error) -> Failure {
    let Failure { code, message } = Failure::from(error);
    let message = message.chars().filter(|c| !c.is_control());
    Failure::new(code, message.take(LONGEST_MESSAGE).collect::<String>())
}

fn deadline() -> Context {
    until(TIMEOUT)
}

/// What the agent is told of a call that is given up after `limit`.
fn until(limit: Duration) -> Context {
    timeout(limit + LATER)
}

fn timeout(limit: Duration) -> Context {
    context::with_duration(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn agent() -> (Agent, UnixStream) {
        let (ours, guests) = UnixStream::pair().unwrap();
        (Agent::unchecked(ours), guests)
    }

    #[tokio::test]
    async fn a_lost_connection_is_unavailable() {
        let (agent, mut guest) = agent();
        let pending = agent.forget_files();
        let ends = async {
            let _ = guest.read_u8().await;
            drop(guest);
        };
        let (pending, ()) = tokio::join!(pending, ends);
        assert_eq!(pending.unwrap_err().code, Code::Unavailable);
        // The connection's task may not have seen all of its end.
        for _ in 0..100 {
            let later = agent.forget_files().await.unwrap_err();
            assert_eq!(later.code, Code::Unavailable, "{later}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_agent_that_does_not_answer_is_said_to() {
        let (agent, _guest) = agent();
        let nothing = Empty::default();
        let call = agent.client.forget_files(deadline(), &nothing);
        let failure = ask_within(Duration::ZERO, call).await.unwrap_err();
        assert_eq!(failure.code, Code::DeadlineExceeded);
        assert!(failure.message.ends_with("within 0 s"), "{failure}");
    }

    #[test]
    fn the_guests_words_are_cut_and_cleaned() {
        let said = "\x1b[2J\n".to_owned() + &"x".repeat(4 << 20);
        let told = failure(Failure::new(Code::NotFound, said).into());
        assert_eq!(told.code, Code::NotFound);
        assert!(told.message.starts_with("[2Jxx"), "{told}");
        assert_eq!(told.message.len(), LONGEST_MESSAGE);
    }
}
