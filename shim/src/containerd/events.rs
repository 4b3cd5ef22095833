//! What happens to tasks, told to containerd in the order in which it does.

use std::time::Duration;

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::MessageFull;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use tokio::sync::mpsc;
use ttrpc::context;

use super::timestamp;
use crate::pod::Exit;
use crate::stdio::StdioPaths;

/// How long one event may take, and how long to wait before the next try.
const TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
/// A containerd that is away for longer asks for the state when it is back.
const TRIES: u32 = 20;

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Create {
        id: String,
        bundle: String,
        stdio: StdioPaths,
        pid: u32,
    },
    Start {
        id: String,
        pid: u32,
    },
    ExecAdded {
        id: String,
        exec_id: String,
    },
    ExecStarted {
        id: String,
        exec_id: String,
        pid: u32,
    },
    /// `exec_id` empty: the container's first process.
    Exit {
        id: String,
        exec_id: String,
        pid: u32,
        exit: Exit,
    },
    Delete {
        id: String,
        exec_id: String,
        pid: u32,
        exit: Exit,
    },
    Oom {
        id: String,
    },
    Paused {
        id: String,
    },
    Resumed {
        id: String,
    },
}

impl Event {
    /// The container that it happened to.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Create { id, .. }
            | Self::Start { id, .. }
            | Self::ExecAdded { id, .. }
            | Self::ExecStarted { id, .. }
            | Self::Exit { id, .. }
            | Self::Delete { id, .. }
            | Self::Oom { id }
            | Self::Paused { id }
            | Self::Resumed { id } => id,
        }
    }
}

/// Sends events to containerd's ttrpc address, one after the other, until the
/// last sender is gone.
pub(crate) async fn publish(
    address: String,
    namespace: String,
    mut events: mpsc::UnboundedReceiver<Event>,
) {
    let mut client = None;
    while let Some(event) = events.recv().await {
        let request = request(&namespace, &event);
        if let Err(error) = deliver(&mut client, &address, &request).await {
            tracing::warn!(%error, ?event, "containerd did not take an event");
        }
    }
}

async fn deliver(
    client: &mut Option<EventsClient>,
    address: &str,
    request: &ForwardRequest,
) -> Result<(), ttrpc::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match forward(client, address, request).await {
            Ok(()) => return Ok(()),
            Err(error) if tries == TRIES => return Err(error),
            Err(_) => *client = None,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn forward(
    client: &mut Option<EventsClient>,
    address: &str,
    request: &ForwardRequest,
) -> Result<(), ttrpc::Error> {
    let connected = match client.take() {
        Some(connected) => connected,
        None => EventsClient::new(Client::connect(&url(address)).await?),
    };
    connected
        .forward(context::with_duration(TRY), request)
        .await?;
    *client = Some(connected);
    Ok(())
}

fn url(address: &str) -> String {
    match address.contains("://") {
        true => address.to_owned(),
        false => format!("unix://{address}"),
    }
}

fn request(namespace: &str, event: &Event) -> ForwardRequest {
    let (topic, any) = encode(event);
    let envelope = Envelope {
        timestamp: Some(timestamp(std::time::SystemTime::now())).into(),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: Some(any).into(),
        ..Default::default()
    };
    ForwardRequest {
        envelope: Some(envelope).into(),
        ..Default::default()
    }
}

/// Topic and message, as containerd's runtime/v2 names them.
fn encode(event: &Event) -> (&'static str, Any) {
    match event.clone() {
        Event::Create {
            id,
            bundle,
            stdio,
            pid,
        } => pack("/tasks/create", &create(id, bundle, stdio, pid)),
        Event::Start { id, pid } => pack(
            "/tasks/start",
            &TaskStart {
                container_id: id,
                pid,
                ..Default::default()
            },
        ),
        Event::ExecAdded { id, exec_id } => pack(
            "/tasks/exec-added",
            &TaskExecAdded {
                container_id: id,
                exec_id,
                ..Default::default()
            },
        ),
        Event::ExecStarted { id, exec_id, pid } => pack(
            "/tasks/exec-started",
            &TaskExecStarted {
                container_id: id,
                exec_id,
                pid,
                ..Default::default()
            },
        ),
        Event::Exit {
            id,
            exec_id,
            pid,
            exit,
        } => pack("/tasks/exit", &exited(id, exec_id, pid, exit)),
        Event::Delete {
            id,
            exec_id,
            pid,
            exit,
        } => pack("/tasks/delete", &deleted(id, exec_id, pid, exit)),
        Event::Oom { id } => pack(
            "/tasks/oom",
            &TaskOOM {
                container_id: id,
                ..Default::default()
            },
        ),
        Event::Paused { id } => pack(
            "/tasks/paused",
            &TaskPaused {
                container_id: id,
                ..Default::default()
            },
        ),
        Event::Resumed { id } => pack(
            "/tasks/resumed",
            &TaskResumed {
                container_id: id,
                ..Default::default()
            },
        ),
    }
}

fn create(id: String, bundle: String, stdio: StdioPaths, pid: u32) -> TaskCreate {
    let io = TaskIO {
        stdin: stdio.stdin,
        stdout: stdio.stdout,
        stderr: stdio.stderr,
        terminal: stdio.terminal,
        ..Default::default()
    };
    TaskCreate {
        container_id: id,
        bundle,
        io: Some(io).into(),
        pid,
        ..Default::default()
    }
}

/// containerd tells an exec from the container itself by `id`.
fn process_id(id: &str, exec_id: String) -> String {
    if exec_id.is_empty() {
        id.to_owned()
    } else {
        exec_id
    }
}

fn exited(id: String, exec_id: String, pid: u32, exit: Exit) -> TaskExit {
    TaskExit {
        id: process_id(&id, exec_id),
        container_id: id,
        pid,
        exit_status: exit.status,
        exited_at: Some(timestamp(exit.at)).into(),
        ..Default::default()
    }
}

fn deleted(id: String, exec_id: String, pid: u32, exit: Exit) -> TaskDelete {
    TaskDelete {
        container_id: id,
        id: exec_id,
        pid,
        exit_status: exit.status,
        exited_at: Some(timestamp(exit.at)).into(),
        ..Default::default()
    }
}

fn pack<M: MessageFull>(topic: &'static str, message: &M) -> (&'static str, Any) {
    let any = Any {
        // containerd's typeurl: the bare name of the message.
        type_url: M::descriptor().full_name().to_owned(),
        value: message.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    };
    (topic, any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::protobuf::Message;

    #[test]
    fn an_exec_is_told_from_its_container() {
        let exit = Exit::now(3);
        let event = |exec_id: &str| Event::Exit {
            id: "c".into(),
            exec_id: exec_id.into(),
            pid: 1,
            exit,
        };
        let decode = |event| TaskExit::parse_from_bytes(&encode(&event).1.value).unwrap();
        assert_eq!(decode(event("")).id, "c");
        assert_eq!(decode(event("e")).id, "e");
        assert_eq!(decode(event("e")).container_id, "c");
    }

    #[test]
    fn names_are_containerds() {
        let (topic, any) = encode(&Event::Oom { id: "c".into() });
        assert_eq!(
            (topic, any.type_url.as_str()),
            ("/tasks/oom", "containerd.events.TaskOOM")
        );
    }
}
