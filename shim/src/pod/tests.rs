//! The pod against an agent of the test's own: no VM, no containerd.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream;
use protocol::agent::event::Kind;
use protocol::agent::{ContainerRequest, Empty, Event as AgentEvent, ProcessExited};
use protocol::agent_ttrpc::{Agent as AgentService, create_agent};
use protocol::{Code, Id};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{Server, ServerStreamSender, TtrpcContext};

use super::container::Container;
use super::lookup::Target;
use super::state::Step;
use super::{ExecRequest, Pod, Settings, State, Vm};
use crate::agent::Agent;
use crate::containerd::Event;
use crate::role::Role;
use crate::sandbox::Sandbox;
use crate::stdio::StdioPaths;

/// An agent whose containers end with 7 before their start is answered.
#[derive(Default)]
struct HastyAgent {
    events: Mutex<Option<mpsc::UnboundedReceiver<AgentEvent>>>,
    sender: Mutex<Option<mpsc::UnboundedSender<AgentEvent>>>,
}

#[async_trait]
impl AgentService for HastyAgent {
    async fn start_container(
        &self,
        _: &TtrpcContext,
        request: ContainerRequest,
    ) -> ttrpc::Result<Empty> {
        let exited = ProcessExited {
            container_id: request.container_id,
            status: 7,
            ..Default::default()
        };
        let event = AgentEvent {
            kind: Some(Kind::Exited(exited)),
            ..Default::default()
        };
        if let Some(sender) = &*self.sender.lock().unwrap() {
            sender.send(event).unwrap();
        }
        // The event is on its way while the answer is not.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(Empty::default())
    }

    async fn delete_container(
        &self,
        _: &TtrpcContext,
        _: ContainerRequest,
    ) -> ttrpc::Result<Empty> {
        Ok(Empty::default())
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

struct Fixture {
    pod: Pod,
    events: mpsc::UnboundedReceiver<Event>,
    _server: Server,
    _folder: tempfile::TempDir,
}

/// A pod with a sandbox `s`, running, and a container `c`, created.
async fn fixture() -> Fixture {
    let (sender, receiver) = mpsc::unbounded_channel();
    let agent = HastyAgent {
        events: Mutex::new(Some(receiver)),
        sender: Mutex::new(Some(sender)),
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
        _server: server,
        _folder: folder,
    }
}

fn target(id: &str) -> Target {
    Target::new(id, "").unwrap()
}

fn names(events: &mut mpsc::UnboundedReceiver<Event>) -> Vec<String> {
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

#[tokio::test]
async fn an_exit_is_never_told_before_its_start() {
    let mut fixture = fixture().await;
    fixture.pod.start(&target("c")).await.unwrap();
    let exit = fixture.pod.wait(&target("c")).await.unwrap();
    assert_eq!(exit.status, 7);
    assert_eq!(names(&mut fixture.events), ["start c", "exit c 7"]);
    let snapshot = fixture.pod.snapshot(&target("c")).unwrap();
    assert_eq!(snapshot.state, State::Stopped);

    let deleted = fixture.pod.delete(&target("c")).await.unwrap();
    assert_eq!(deleted.exit.status, 7);
    assert_eq!(names(&mut fixture.events), ["delete c"]);
    let gone = fixture.pod.snapshot(&target("c")).err().unwrap();
    assert_eq!(gone.code, Code::NotFound);
}

#[tokio::test]
async fn killing_the_sandbox_ends_the_members_first() {
    let mut fixture = fixture().await;
    fixture.pod.kill(&target("s"), 9, false).await.unwrap();
    assert_eq!(names(&mut fixture.events), ["exit c 137", "exit s 137"]);
    let again = fixture.pod.kill(&target("s"), 9, false).await.unwrap_err();
    assert_eq!(again.code, Code::NotFound, "{again}");
    let late = fixture.pod.start(&target("c")).await.unwrap_err();
    assert_eq!(late.code, Code::Unavailable, "{late}");
}

#[tokio::test]
async fn a_vm_that_ends_takes_every_process_with_it() {
    let mut fixture = fixture().await;
    let sandbox = fixture.pod.sandbox().unwrap();
    sandbox.kill_processes().await;
    let exit = fixture.pod.wait(&target("s")).await.unwrap();
    assert_eq!(exit.status, 137);
    assert_eq!(names(&mut fixture.events), ["exit c 137", "exit s 137"]);
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_codes() {
    let fixture = fixture().await;
    let pod = &fixture.pod;
    let running = pod.delete(&target("s")).await.unwrap_err();
    assert_eq!(running.code, Code::FailedPrecondition);
    assert_eq!(running.message, "sandbox s is running");
    assert_eq!(
        pod.start(&target("x")).await.unwrap_err().code,
        Code::NotFound
    );
    assert_eq!(
        pod.kill(&target("c"), 65, false).await.unwrap_err().code,
        Code::InvalidArgument
    );
    assert_eq!(
        pod.pause(&target("s")).await.unwrap_err().code,
        Code::Unimplemented
    );
    assert_eq!(
        pod.pause(&target("c")).await.unwrap_err().code,
        Code::FailedPrecondition
    );
    assert_eq!(
        Target::new("../x", "").unwrap_err().code,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn an_exec_id_is_taken_once() {
    let mut fixture = fixture().await;
    let request = |exec_id: &str| ExecRequest {
        id: "c".into(),
        exec_id: exec_id.into(),
        spec: Vec::new(),
        stdio: StdioPaths::default(),
    };
    fixture.pod.exec(request("e")).unwrap();
    assert_eq!(names(&mut fixture.events), ["exec-added e"]);
    assert_eq!(
        fixture.pod.exec(request("e")).unwrap_err().code,
        Code::AlreadyExists
    );
    assert_eq!(
        fixture.pod.exec(request("")).unwrap_err().code,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_shim_ends_only_when_nothing_is_left() {
    let fixture = fixture().await;
    fixture.pod.shutdown(false);
    let over = tokio::time::timeout(Duration::from_millis(50), fixture.pod.over()).await;
    assert!(over.is_err(), "it ended with containers left");
    fixture.pod.shutdown(true);
    fixture.pod.over().await;
}
