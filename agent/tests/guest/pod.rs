//! A guest with a sandbox, and a client to it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::agent::{
    ContainerRequest, CreateContainerRequest, CreateSandboxRequest, Empty, Event,
    ExecProcessRequest, HelloRequest, HelloResponse, ProcessExited, ProcessRequest,
    SignalProcessRequest, Stdio, UpdateContainerRequest,
};
use protocol::agent_ttrpc::AgentClient;
use protocol::{Failure, PROTOCOL_VERSION, Token};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::asynchronous::{Client, ClientStreamReceiver};
use ttrpc::context::Context;

use crate::device::Device;
use crate::host::Host;
use crate::machine::{Machine, Shape};
use crate::spec;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Pod {
    pub(crate) agent: AgentClient,
    pub(crate) hello: HelloResponse,
    pub(crate) machine: Machine,
    events: ClientStreamReceiver<Event>,
    host: Host,
    control: std::os::unix::net::UnixStream,
    _device: Device,
    _folder: TempDir,
}

/// The host's ends of a process's streams.
pub(crate) struct Streams {
    pub(crate) stdin: oneshot::Receiver<UnixStream>,
    pub(crate) stdout: oneshot::Receiver<UnixStream>,
    pub(crate) stderr: oneshot::Receiver<UnixStream>,
}

impl Pod {
    pub(crate) async fn boot() -> Self {
        Self::boot_with(Shape::default(), sandbox()).await
    }

    pub(crate) async fn boot_with(shape: Shape, request: CreateSandboxRequest) -> Self {
        let pod = Self::greeted(shape).await;
        pod.agent.create_sandbox(context(), &request).await.unwrap();
        pod
    }

    /// A guest that is no pod yet.
    pub(crate) async fn greeted(shape: Shape) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("vsock.sock");
        let (device, handover) = Device::start(&socket);
        let machine = Machine::boot(folder.path(), &socket, shape);
        let (host, control) = Host::receive(handover);
        let Ok(Ok(control)) = timeout(PATIENCE, control).await else {
            panic!("the agent did not dial the host:\n{}", machine.console());
        };
        let control = control.into_std().unwrap();
        let connection = UnixStream::from_std(control.try_clone().unwrap()).unwrap();
        let agent = AgentClient::new(Client::new(Socket::new(connection)));
        let greeting = HelloRequest {
            protocol_version: PROTOCOL_VERSION,
            ..Default::default()
        };
        let hello = agent.hello(context(), &greeting).await.unwrap();
        let events = agent.events(context(), &Empty::new()).await.unwrap();
        Self {
            agent,
            hello,
            machine,
            events,
            host,
            control,
            _device: device,
            _folder: folder,
        }
    }

    /// What the shim's death does to the connection.
    pub(crate) fn hang_up(&self) {
        self.control.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Streams with fresh tokens.
    pub(crate) fn stdio(&self, terminal: bool) -> (Stdio, Streams) {
        let [stdin, stdout, stderr] = [token(), token(), token()];
        let streams = Streams {
            stdin: self.host.expect(stdin),
            stdout: self.host.expect(stdout),
            stderr: self.host.expect(stderr),
        };
        let stdio = Stdio {
            stdin_token: stdin.as_bytes().to_vec(),
            stdout_token: stdout.as_bytes().to_vec(),
            stderr_token: if terminal {
                Vec::new()
            } else {
                stderr.as_bytes().to_vec()
            },
            terminal,
            ..Default::default()
        };
        (stdio, streams)
    }

    pub(crate) async fn create(
        &self,
        id: &str,
        spec: &Value,
        stdio: Stdio,
    ) -> Result<u32, Failure> {
        let request = CreateContainerRequest {
            container_id: id.to_owned(),
            spec: spec.to_string().into_bytes(),
            stdio: Some(stdio).into(),
            ..Default::default()
        };
        Ok(self.agent.create_container(context(), &request).await?.pid)
    }

    /// Changes the limits of a running container: OCI `linux.resources`.
    pub(crate) async fn update(&self, id: &str, resources: &Value) -> Result<(), Failure> {
        let request = UpdateContainerRequest {
            container_id: id.to_owned(),
            resources: resources.to_string().into_bytes(),
            ..Default::default()
        };
        self.agent.update_container(context(), &request).await?;
        Ok(())
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), Failure> {
        self.agent
            .start_container(context(), &container(id))
            .await?;
        Ok(())
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Failure> {
        self.agent
            .delete_container(context(), &container(id))
            .await?;
        Ok(())
    }

    /// A running container of `process`, without streams.
    pub(crate) async fn run(&self, id: &str, process: Value) {
        self.create(id, &spec::container(process), Stdio::new())
            .await
            .unwrap();
        self.start(id).await.unwrap();
    }

    /// A running container of `script`, which has said `ready`.
    pub(crate) async fn run_until_ready(&self, id: &str, script: &str) {
        let (stdio, streams) = self.stdio(false);
        let spec = spec::container(spec::shell(script));
        self.create(id, &spec, stdio).await.unwrap();
        self.start(id).await.unwrap();
        let mut ready = [0; 6];
        let mut stdout = streams.stdout.await.unwrap();
        timeout(PATIENCE, stdout.read_exact(&mut ready))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&ready, b"ready\n");
    }

    /// Runs a container of `spec` to its end: its output, its errors, its status.
    pub(crate) async fn output_of(&mut self, id: &str, spec: &Value) -> (String, String, u32) {
        let (stdio, streams) = self.stdio(false);
        self.create(id, spec, stdio).await.unwrap();
        drop(streams.stdin);
        self.start(id).await.unwrap();
        let (stdout, stderr) = tokio::join!(text(streams.stdout), text(streams.stderr));
        let status = self.exit(id, "").await.status;
        self.delete(id).await.unwrap();
        (stdout, stderr, status)
    }

    pub(crate) async fn exec(
        &self,
        id: &str,
        exec: &str,
        process: &Value,
        stdio: Stdio,
    ) -> Result<u32, Failure> {
        let request = ExecProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            process: process.to_string().into_bytes(),
            stdio: Some(stdio).into(),
            ..Default::default()
        };
        Ok(self.agent.exec_process(context(), &request).await?.pid)
    }

    /// Runs `process` in container `id` to its end: its output and its status.
    pub(crate) async fn output_of_exec(&mut self, id: &str, process: &Value) -> (String, u32) {
        let name = format!("e{}", token().as_bytes()[0]);
        let (stdio, streams) = self.stdio(false);
        self.exec(id, &name, process, stdio).await.unwrap();
        let stdout = text(streams.stdout).await;
        let status = self.exit(id, &name).await.status;
        let request = self.process(id, &name);
        self.agent
            .delete_process(context(), &request)
            .await
            .unwrap();
        (stdout, status)
    }

    pub(crate) fn process(&self, id: &str, exec: &str) -> ProcessRequest {
        ProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            ..Default::default()
        }
    }

    pub(crate) async fn signal(
        &self,
        id: &str,
        exec: &str,
        signal: u32,
        all: bool,
    ) -> Result<(), Failure> {
        let request = SignalProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            signal,
            all,
            ..Default::default()
        };
        self.agent.signal_process(context(), &request).await?;
        Ok(())
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event
            .expect("no event")
            .expect("the events ended")
            .expect("the events ended")
    }

    /// The next event, which is to be the end of this process.
    pub(crate) async fn exit(&mut self, id: &str, exec: &str) -> ProcessExited {
        let event = self.event().await;
        assert!(
            event.has_exited(),
            "{event:?} instead of the exit of {id}/{exec}"
        );
        let exited = event.exited();
        assert_eq!(
            (exited.container_id.as_str(), exited.exec_id.as_str()),
            (id, exec)
        );
        exited.clone()
    }
}

/// What a pod without anything special asks for.
pub(crate) fn sandbox() -> CreateSandboxRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    CreateSandboxRequest {
        sandbox_id: "pod".to_owned(),
        hostname: "web-0".to_owned(),
        wall_clock_ns: u64::try_from(now.as_nanos()).unwrap(),
        ..Default::default()
    }
}

pub(crate) fn container(id: &str) -> ContainerRequest {
    ContainerRequest {
        container_id: id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn context() -> Context {
    ttrpc::context::with_timeout(i64::try_from(PATIENCE.as_nanos()).unwrap())
}

fn token() -> Token {
    static NUMBER: AtomicU8 = AtomicU8::new(0);
    Token::new([NUMBER.fetch_add(1, Ordering::Relaxed); Token::LEN])
}

/// Everything that comes out of a stream, up to its end.
pub(crate) async fn text(stream: oneshot::Receiver<UnixStream>) -> String {
    let mut text = String::new();
    let read = async { stream.await.unwrap().read_to_string(&mut text).await };
    timeout(PATIENCE, read)
        .await
        .expect("the stream does not end")
        .unwrap();
    text
}

/// Writes `bytes` and closes this direction.
pub(crate) async fn feed(stream: oneshot::Receiver<UnixStream>, bytes: &[u8]) -> UnixStream {
    let mut stream = stream.await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    stream
}
