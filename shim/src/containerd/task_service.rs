//! The Task service: containerd's messages in, the pod's operations, and
//! containerd's messages out. Version 2 (containerd 1.6, 1.7) and version 3
//! (2.x) are the same methods under two names.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
    ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
    StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::shim_async::{Task, create_task};
use protocol::{Code, Failure};
use ttrpc::asynchronous::{Service, TtrpcContext};

use super::{figures, metrics, run, timestamp};
use crate::pod::{CreateRequest, ExecRequest, Pod, Snapshot, State, Target};
use crate::share::RootfsMount;
use crate::stdio::StdioPaths;

const V3: &str = "containerd.task.v3.Task";
const V2: &str = "containerd.task.v2.Task";

/// The service under both of its names.
pub(super) fn services(pod: &Pod) -> HashMap<String, Service> {
    let mut services = HashMap::new();
    for name in [V2, V3] {
        let mut one = create_task(Arc::new(TaskService { pod: pod.clone() }));
        services.extend(one.remove(V3).map(|service| (name.to_owned(), service)));
    }
    services
}

struct TaskService {
    pod: Pod,
}

impl TaskService {
    async fn run<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        operation: impl FnOnce(Pod) -> F,
    ) -> ttrpc::Result<T> {
        run(&self.pod, operation).await
    }

    /// A sandbox that containerd knows as such is no task.
    fn target(&self, id: &str, exec_id: &str) -> Result<Target, Failure> {
        if self.pod.is_described(id) {
            let text = format!("{id} is a sandbox, not a task");
            return Err(Failure::new(Code::NotFound, text));
        }
        Target::new(id, exec_id)
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        if !request.checkpoint.is_empty() {
            return Err(checkpoint_refused().into());
        }
        let pid = self
            .run(|pod| async move { pod.create(create_request(request)).await })
            .await?;
        Ok(CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let target = self.target(&request.id, &request.exec_id)?;
        let pid = self
            .run(|pod| async move { pod.start(&target).await })
            .await?;
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let target = self.target(&request.id, &request.exec_id)?;
        let snapshot = self.pod.snapshot(&target)?;
        Ok(state_response(request, snapshot))
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: DeleteRequest,
    ) -> ttrpc::Result<DeleteResponse> {
        let target = self.target(&request.id, &request.exec_id)?;
        let deleted = self
            .run(|pod| async move { pod.delete(&target).await })
            .await?;
        Ok(DeleteResponse {
            pid: deleted.pid,
            exit_status: deleted.exit.status,
            exited_at: Some(timestamp(deleted.exit.at)).into(),
            ..Default::default()
        })
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        self.pod.exec(exec_request(request))?;
        Ok(Empty::default())
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, &request.exec_id)?;
        let (signal, all) = (request.signal, request.all);
        self.run(move |pod| async move { pod.kill(&target, signal, all).await })
            .await?;
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let target = self.target(&request.id, &request.exec_id)?;
        let exit = self.pod.wait(&target).await?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let pids = self.pod.pids(&self.target(&request.id, "")?).await?;
        let info = |pid| ProcessInfo {
            pid,
            ..Default::default()
        };
        Ok(PidsResponse {
            processes: pids.into_iter().map(info).collect(),
            ..Default::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, "")?;
        self.run(|pod| async move { pod.pause(&target).await })
            .await?;
        Ok(Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, "")?;
        self.run(|pod| async move { pod.resume(&target).await })
            .await?;
        Ok(Empty::default())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, "")?;
        let resources = request.resources.into_option().unwrap_or_default().value;
        self.run(|pod| async move { pod.update(&target, resources).await })
            .await?;
        Ok(Empty::default())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let target = self.target(&request.id, &request.exec_id)?;
        self.pod
            .resize(&target, request.width, request.height)
            .await?;
        Ok(Empty::default())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        if request.stdin {
            self.pod
                .close_stdin(&self.target(&request.id, &request.exec_id)?)?;
        }
        Ok(Empty::default())
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let figures = figures(&self.pod, &self.target(&request.id, "")?).await?;
        Ok(StatsResponse {
            stats: Some(metrics::encode(&figures)).into(),
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: ConnectRequest,
    ) -> ttrpc::Result<ConnectResponse> {
        // The answer names the shim even before there is a task.
        let known = self
            .target(&request.id, "")
            .and_then(|target| self.pod.snapshot(&target));
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: known.map(|snapshot| snapshot.pid).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> ttrpc::Result<Empty> {
        self.pod.shutdown(request.now);
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        Err(checkpoint_refused().into())
    }
}

fn checkpoint_refused() -> Failure {
    Failure::new(
        Code::Unimplemented,
        "a container in a VM cannot be checkpointed or restored",
    )
}

fn create_request(request: CreateTaskRequest) -> CreateRequest {
    let rootfs = request.rootfs.into_iter().map(|mount| RootfsMount {
        kind: mount.type_,
        source: mount.source,
        options: mount.options,
    });
    CreateRequest {
        id: request.id,
        bundle: request.bundle,
        rootfs: rootfs.collect(),
        stdio: StdioPaths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
    }
}

fn exec_request(request: ExecProcessRequest) -> ExecRequest {
    ExecRequest {
        id: request.id,
        exec_id: request.exec_id,
        spec: request.spec.into_option().unwrap_or_default().value,
        stdio: StdioPaths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
    }
}

fn state_response(request: StateRequest, snapshot: Snapshot) -> StateResponse {
    let mut response = StateResponse {
        id: request.id,
        exec_id: request.exec_id,
        bundle: snapshot.bundle,
        pid: snapshot.pid,
        status: status(snapshot.state).into(),
        stdin: snapshot.stdio.stdin,
        stdout: snapshot.stdio.stdout,
        stderr: snapshot.stdio.stderr,
        terminal: snapshot.stdio.terminal,
        ..Default::default()
    };
    if let Some(exit) = snapshot.exit {
        response.exit_status = exit.status;
        response.exited_at = Some(timestamp(exit.at)).into();
    }
    response
}

fn status(state: State) -> Status {
    match state {
        State::Creating | State::Abandoned | State::Created | State::Starting => Status::CREATED,
        State::Running => Status::RUNNING,
        State::Paused => Status::PAUSED,
        State::Stopped => Status::STOPPED,
    }
}
