//! The agent, and a pod that has it.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream;
use protocol::agent::event::Kind;
use protocol::agent::{
    ContainerRequest, Empty, Event as AgentEvent, ExecProcessRequest, ListProcessesResponse,
    ProcessExited, ProcessRequest, ProcessStarted, SignalProcessRequest,
};
use protocol::agent_ttrpc::{Agent as AgentService, create_agent};
use protocol::{Code, Failure, Id};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{Server, ServerStreamSender, TtrpcContext};

use crate::agent::Agent;
use crate::containerd::Event;
use crate::pod::container::Container;
use crate::pod::lookup::Target;
use crate::pod::state::Step;
use crate::pod::{Pod, Settings, Vm};
use crate::role::Role;
use crate::sandbox::Sandbox;
use crate::stdio::StdioPaths;

/// How the agent answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It does what is asked.
    Does,
    /// It says so, and does nothing.
    Lies,
    Refuses,
    /// Nothing is heard of it.
    Silence,
}

/// How it answers to what. A container that is started ends with 7 before that is
/// answered.
#[derive(Clone, Copy)]
pub(super) struct Manners {
    pub(super) start: Answer,
    pub(super) signal: Answer,
    pub(super) delete: Answer,
    pub(super) list: Answer,
}

impl Default for Manners {
    fn default() -> Self {
        let does = Answer::Does;
        Self {
            start: does,
            signal: does,
            delete: does,
            list: does,
        }
    }
}

struct FakeAgent {
    manners: Manners,
    asked: mpsc::UnboundedSender<String>,
    events: Mutex<Option<mpsc::UnboundedReceiver<AgentEvent>>>,
    sender: mpsc::UnboundedSender<AgentEvent>,
}

impl FakeAgent {
    /// Whether it is to do what is asked.
    async fn answer(&self, answer: Answer, what: String) -> ttrpc::Result<bool> {
        // A test that has ended does not listen.
        let _ = self.asked.send(what);
        match answer {
            Answer::Does => Ok(true),
            Answer::Lies => Ok(false),
            Answer::Refuses => Err(Failure::new(Code::FailedPrecondition, "no").into()),
            Answer::Silence => pending().await,
        }
    }

    fn tell_exit(&self, container_id: String, exec_id: String, status: u32) {
        let exited = ProcessExited {
            container_id,
            exec_id,
            status,
            ..Default::default()
        };
        let event = AgentEvent {
            kind: Some(Kind::Exited(exited)),
            ..Default::default()
        };
        self.sender.send(event).unwrap();
    }
}

#[async_trait]
impl AgentService for FakeAgent {
    async fn start_container(
        &self,
        _: &TtrpcContext,
        request: ContainerRequest,
    ) -> ttrpc::Result<Empty> {
        let id = request.container_id;
        if self
            .answer(self.manners.start, format!("start {id}"))
            .await?
        {
            self.tell_exit(id, String::new(), 7);
        }
        // The event is on its way while the answer is not.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Empty::default())
    }

    async fn exec_process(
        &self,
        _: &TtrpcContext,
        request: ExecProcessRequest,
    ) -> ttrpc::Result<ProcessStarted> {
        let what = format!("exec {}", request.exec_id);
        self.answer(self.manners.start, what).await?;
        Ok(ProcessStarted::default())
    }

    async fn signal_process(
        &self,
        _: &TtrpcContext,
        request: SignalProcessRequest,
    ) -> ttrpc::Result<Empty> {
        let (id, exec_id) = (request.container_id, request.exec_id);
        let what = format!("signal {} {id}{exec_id}", request.signal);
        if self.answer(self.manners.signal, what).await? {
            self.tell_exit(id, exec_id, 128 + request.signal);
        }
        Ok(Empty::default())
    }

    async fn delete_process(
        &self,
        _: &TtrpcContext,
        request: ProcessRequest,
    ) -> ttrpc::Result<Empty> {
        let what = format!("delete {}", request.exec_id);
        self.answer(self.manners.delete, what).await?;
        Ok(Empty::default())
    }

    async fn delete_container(
        &self,
        _: &TtrpcContext,
        request: ContainerRequest,
    ) -> ttrpc::Result<Empty> {
        let what = format!("delete {}", request.container_id);
        self.answer(self.manners.delete, what).await?;
        Ok(Empty::default())
    }

    async fn list_processes(
        &self,
        _: &TtrpcContext,
        _: ContainerRequest,
    ) -> ttrpc::Result<ListProcessesResponse> {
        self.answer(self.manners.list, "list".to_owned()).await?;
        Ok(ListProcessesResponse::default())
    }

    async fn events(
        &self,
        _: &TtrpcContext,
        _: Empty,
        stream: ServerStreamSender<AgentEvent>,
    ) -> ttrpc::Result<()> {
        let events = self.events.lock().unwrap().take();
        let mut events = events.expect("asked once");
        while let Some(event) = events.recv().await {
            stream.send(&event).await?;
        }
        Ok(())
    }
}

pub(super) struct Fixture {
    pub(super) pod: Pod,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    asked: mpsc::UnboundedReceiver<String>,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// What the agent was asked since the last time.
    pub(super) fn asked(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

pub(super) async fn fixture() -> Fixture {
    fixture_with(Manners::default()).await
}

/// A pod with a sandbox `s`, running, and a container `c`, created.
pub(super) async fn fixture_with(manners: Manners) -> Fixture {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (asking, asked) = mpsc::unbounded_channel();
    let agent = FakeAgent {
        manners,
        asked: asking,
        events: Mutex::new(Some(receiver)),
        sender,
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connections = stream::iter([Ok(theirs)]);
    let mut server = Server::new()
        .add_listener(Listener::new(connections))
        .register_service(create_agent(Arc::new(agent)));
    server.start().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let sandbox = Arc::new(Sandbox::without_vm(Agent::unchecked(ours), folder.path()));
    let settings = Settings {
        namespace: "k8s.io".into(),
        config_path: "/nonexistent".into(),
        began: Instant::now(),
    };
    let (sender, events) = mpsc::unbounded_channel();
    let pod = Pod::new(settings, sender);
    pod.lock().vm = Vm::Up(Arc::clone(&sandbox));
    let member = Role::Member {
        sandbox_id: "s".into(),
    };
    for (id, role, steps) in [
        (
            "s",
            Role::Sandbox,
            &[Step::CreateDone, Step::Start, Step::StartDone][..],
        ),
        ("c", member, &[Step::CreateDone]),
    ] {
        let id = Id::new(id).unwrap();
        let mut container = Container::new(&id, role, "/b".into(), StdioPaths::default());
        for step in steps {
            container.init.step(*step).unwrap();
        }
        pod.lock().containers.insert(id, container);
    }
    pod.watch(&sandbox);
    Fixture {
        pod,
        events,
        asked,
        _server: server,
        _folder: folder,
    }
}

pub(super) fn target(id: &str) -> Target {
    Target::new(id, "").unwrap()
}

pub(super) fn names(events: &mut mpsc::UnboundedReceiver<Event>) -> Vec<String> {
    let mut names = Vec::new();
    while let Ok(event) = events.try_recv() {
        names.push(match event {
            Event::Start { id, .. } => format!("start {id}"),
            Event::Exit { id, exit, .. } => format!("exit {id} {}", exit.status),
            Event::Delete { id, .. } => format!("delete {id}"),
            Event::ExecAdded { exec_id, .. } => format!("exec-added {exec_id}"),
            other => format!("{other:?}"),
        });
    }
    names
}
