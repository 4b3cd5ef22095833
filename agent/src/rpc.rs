//! The service as the host calls it: a thin layer over [`Sandbox`].
//!
//! A request whose caller has gone, or has stopped waiting, is carried out all
//! the same: each runs in a task of its own.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use protocol::agent::{
    AdjustClockRequest, AdjustClockResponse, AttachDiskRequest, AttachDiskResponse,
    AwaitMemoryRequest, ContainerRequest, ContainerStatsResponse, CopiedVolume,
    CreateContainerRequest, CreateSandboxRequest, DetachDiskRequest, Empty, Event,
    ExecProcessRequest, HelloRequest, HelloResponse, ListProcessesResponse, ProcessRequest,
    ProcessStarted, ResizeTerminalRequest, SetHugePagesRequest, SetProcessorsRequest,
    SignalProcessRequest, UpdateContainerRequest, UpdateNetworkRequest,
};
use protocol::agent_ttrpc::{Agent, create_agent};
use protocol::{Code, Failure, PROTOCOL_VERSION};
use tokio_vsock::VsockStream;
use ttrpc::Result;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{Server, ServerStreamSender, TtrpcContext};

use crate::error::AgentError;
use crate::sandbox::Sandbox;
use crate::vsock::Watched;

/// How long the answer to Shutdown has to leave the guest.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Serves `connection` until it ends.
pub(crate) async fn serve(sandbox: Sandbox, connection: VsockStream) -> Result<()> {
    let (connection, ended) = Watched::new(connection);
    let service = Arc::new(Service {
        sandbox: Arc::new(sandbox),
        greeted: AtomicBool::new(false),
    });
    let one = stream::iter([Ok::<_, std::io::Error>(connection)]);
    let mut server = Server::new()
        .add_listener(Listener::new(one))
        .register_service(create_agent(service));
    server.start().await?;
    // Resolves when the sender is dropped: there is nothing to receive.
    let _ = ended.await;
    Ok(())
}

struct Service {
    sandbox: Arc<Sandbox>,
    greeted: AtomicBool,
}

impl Service {
    /// Runs `request` to its end, whatever becomes of the caller.
    async fn run<T, F>(&self, request: impl FnOnce(Arc<Sandbox>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<T, AgentError>> + Send + 'static,
    {
        if !self.greeted.load(Ordering::Relaxed) {
            return Err(Failure::from(AgentError::NoHello).into());
        }
        let task = tokio::spawn(request(Arc::clone(&self.sandbox)));
        let lost = |_| Failure::new(Code::Internal, "the request was lost");
        Ok(task.await.map_err(lost)?.map_err(Failure::from)?)
    }
}

fn started(pid: u32) -> ProcessStarted {
    ProcessStarted {
        pid,
        ..Default::default()
    }
}

#[async_trait]
impl Agent for Service {
    async fn hello(&self, _: &TtrpcContext, request: HelloRequest) -> Result<HelloResponse> {
        let same = request.protocol_version == PROTOCOL_VERSION;
        self.greeted.store(same, Ordering::Relaxed);
        // Answered even so: the shim can then name both versions.
        Ok(self.sandbox.describe())
    }

    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.create(&request).await.map(empty) })
            .await
    }

    async fn attach_disk(
        &self,
        _: &TtrpcContext,
        request: AttachDiskRequest,
    ) -> Result<AttachDiskResponse> {
        let attach = |sandbox: Arc<Sandbox>| async move {
            sandbox.attach_disk(&request.slot, request.serial).await
        };
        self.run(attach).await
    }

    async fn detach_disk(&self, _: &TtrpcContext, request: DetachDiskRequest) -> Result<Empty> {
        let detach = |sandbox: Arc<Sandbox>| async move {
            sandbox
                .detach_disk(&request.slot, request.serial)
                .await
                .map(empty)
        };
        self.run(detach).await
    }

    async fn set_processors(
        &self,
        _: &TtrpcContext,
        request: SetProcessorsRequest,
    ) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.set_processors(request.online).map(empty) })
            .await
    }

    async fn await_memory(&self, _: &TtrpcContext, request: AwaitMemoryRequest) -> Result<Empty> {
        let patience = Duration::from_millis(request.patience_ms.into());
        let wait = move |sandbox: Arc<Sandbox>| async move {
            sandbox
                .await_memory(request.added_mib, patience)
                .await
                .map(empty)
        };
        self.run(wait).await
    }

    async fn adjust_clock(
        &self,
        _: &TtrpcContext,
        request: AdjustClockRequest,
    ) -> Result<AdjustClockResponse> {
        let adjust = |sandbox: Arc<Sandbox>| async move { sandbox.adjust_clock(request.by_ns) };
        Ok(AdjustClockResponse {
            wall_clock_ns: self.run(adjust).await?,
            ..Default::default()
        })
    }

    async fn update_network(
        &self,
        _: &TtrpcContext,
        request: UpdateNetworkRequest,
    ) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.update_network(request).await.map(empty) })
            .await
    }

    async fn set_huge_pages(
        &self,
        _: &TtrpcContext,
        request: SetHugePagesRequest,
    ) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.set_huge_pages(request).await.map(empty) })
            .await
    }

    async fn forget_files(&self, _: &TtrpcContext, _: Empty) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.forget_files().await.map(empty) })
            .await
    }

    async fn shutdown(&self, _: &TtrpcContext, _: Empty) -> Result<Empty> {
        self.sandbox.shut_down();
        tokio::spawn(async {
            tokio::time::sleep(LAST_WORDS).await;
            crate::init::power_off();
        });
        Ok(Empty::new())
    }

    async fn create_container(
        &self,
        _: &TtrpcContext,
        request: CreateContainerRequest,
    ) -> Result<ProcessStarted> {
        let create = |sandbox: Arc<Sandbox>| async move { sandbox.create_container(request).await };
        self.run(create).await.map(started)
    }

    async fn start_container(&self, _: &TtrpcContext, request: ContainerRequest) -> Result<Empty> {
        let start = |sandbox: Arc<Sandbox>| async move {
            sandbox
                .start_container(&request.container_id)
                .await
                .map(empty)
        };
        self.run(start).await
    }

    async fn delete_container(&self, _: &TtrpcContext, request: ContainerRequest) -> Result<Empty> {
        let delete = |sandbox: Arc<Sandbox>| async move {
            sandbox
                .delete_container(&request.container_id)
                .await
                .map(empty)
        };
        self.run(delete).await
    }

    async fn pause_container(&self, _: &TtrpcContext, request: ContainerRequest) -> Result<Empty> {
        let pause = |sandbox: Arc<Sandbox>| async move {
            sandbox
                .pause_container(&request.container_id)
                .await
                .map(empty)
        };
        self.run(pause).await
    }

    async fn resume_container(&self, _: &TtrpcContext, request: ContainerRequest) -> Result<Empty> {
        let resume = |sandbox: Arc<Sandbox>| async move {
            sandbox
                .resume_container(&request.container_id)
                .await
                .map(empty)
        };
        self.run(resume).await
    }

    async fn update_container(
        &self,
        _: &TtrpcContext,
        request: UpdateContainerRequest,
    ) -> Result<Empty> {
        let update = |sandbox: Arc<Sandbox>| async move {
            sandbox.update_container(&request).await.map(empty)
        };
        self.run(update).await
    }

    async fn container_stats(
        &self,
        _: &TtrpcContext,
        request: ContainerRequest,
    ) -> Result<ContainerStatsResponse> {
        self.run(|sandbox| async move { sandbox.stats(&request.container_id) })
            .await
    }

    async fn list_processes(
        &self,
        _: &TtrpcContext,
        request: ContainerRequest,
    ) -> Result<ListProcessesResponse> {
        let pids = self
            .run(|sandbox| async move { sandbox.processes(&request.container_id) })
            .await?;
        Ok(ListProcessesResponse {
            pids,
            ..Default::default()
        })
    }

    async fn exec_process(
        &self,
        _: &TtrpcContext,
        request: ExecProcessRequest,
    ) -> Result<ProcessStarted> {
        let exec = |sandbox: Arc<Sandbox>| async move { sandbox.exec(request).await };
        self.run(exec).await.map(started)
    }

    async fn delete_process(&self, _: &TtrpcContext, request: ProcessRequest) -> Result<Empty> {
        let delete = |sandbox: Arc<Sandbox>| async move {
            sandbox
                .delete_process(&request.container_id, &request.exec_id)
                .await
                .map(empty)
        };
        self.run(delete).await
    }

    async fn signal_process(
        &self,
        _: &TtrpcContext,
        request: SignalProcessRequest,
    ) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.signal(&request).map(empty) })
            .await
    }

    async fn resize_terminal(
        &self,
        _: &TtrpcContext,
        request: ResizeTerminalRequest,
    ) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.resize(&request).map(empty) })
            .await
    }

    async fn refresh_volume(&self, _: &TtrpcContext, volume: CopiedVolume) -> Result<Empty> {
        self.run(|sandbox| async move { sandbox.refresh_volume(volume).await.map(empty) })
            .await
    }

    async fn events(
        &self,
        _: &TtrpcContext,
        _: Empty,
        sender: ServerStreamSender<Event>,
    ) -> Result<()> {
        let mut events = self.run(|sandbox| async move { sandbox.events() }).await?;
        while let Some(event) = events.recv().await {
            sender.send(&event).await?;
        }
        Ok(())
    }
}

fn empty((): ()) -> Empty {
    Empty::new()
}
