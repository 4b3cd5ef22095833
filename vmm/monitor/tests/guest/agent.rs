//! The agent in the guest, as the shim calls it.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use protocol::PROTOCOL_VERSION;
use protocol::agent::{
    AttachDiskRequest, CreateSandboxRequest, DetachDiskRequest, HelloRequest, HelloResponse,
    SetProcessorsRequest,
};
use protocol::agent_ttrpc::AgentClient;
use tokio::runtime::{Builder, Runtime};
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::context::{self, Context};

/// Connected. Dropped, it hangs up, and the agent ends the guest.
pub(crate) struct Agent {
    runtime: Runtime,
    client: AgentClient,
    pub(crate) hello: HelloResponse,
}

impl Agent {
    pub(crate) fn connect(stream: UnixStream) -> anyhow::Result<Self> {
        stream.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, hello) = runtime.block_on(async {
            let stream = tokio::net::UnixStream::from_std(stream)?;
            let client = AgentClient::new(Client::new(Socket::new(stream)));
            let hello = client.hello(limit(), &hello()).await?;
            anyhow::Ok((client, hello))
        })?;
        Ok(Self {
            runtime,
            client,
            hello,
        })
    }

    /// Another hello: whether the guest still answers.
    pub(crate) fn is_there(&self) -> anyhow::Result<()> {
        let request = hello();
        let hello = self.client.hello(limit(), &request);
        Ok(self.runtime.block_on(hello).map(drop)?)
    }

    /// Whether an answer comes within `patience`.
    pub(crate) fn answers_within(&self, patience: Duration) -> bool {
        let request = hello();
        let hello = self.client.hello(limit(), &request);
        let answer = async { tokio::time::timeout(patience, hello).await };
        self.runtime.block_on(answer).is_ok()
    }

    /// Has so many processors online.
    pub(crate) fn set_processors(&self, online: u32) -> anyhow::Result<()> {
        let request = SetProcessorsRequest {
            online,
            ..SetProcessorsRequest::default()
        };
        let set = self.client.set_processors(limit(), &request);
        Ok(self.runtime.block_on(set).map(drop)?)
    }

    /// Has the guest take a disk. Path of its node.
    pub(crate) fn attach_disk(&self, slot: &str, serial: &str) -> anyhow::Result<String> {
        let request = AttachDiskRequest {
            slot: slot.to_owned(),
            serial: serial.to_owned(),
            ..AttachDiskRequest::default()
        };
        let attached = self.client.attach_disk(limit(), &request);
        Ok(self.runtime.block_on(attached)?.path)
    }

    /// Has it let go of one.
    pub(crate) fn detach_disk(&self, slot: &str) -> anyhow::Result<()> {
        let request = DetachDiskRequest {
            slot: slot.to_owned(),
            ..DetachDiskRequest::default()
        };
        let detached = self.client.detach_disk(limit(), &request);
        Ok(self.runtime.block_on(detached).map(drop)?)
    }

    /// Has the agent mount the share, which takes the file server.
    pub(crate) fn create_sandbox(&self) -> anyhow::Result<()> {
        let request = CreateSandboxRequest {
            sandbox_id: "sandbox".to_owned(),
            hostname: "guest".to_owned(),
            shm_size: 16 << 20,
            share_tag: "share".to_owned(),
            ..CreateSandboxRequest::default()
        };
        let created = self.client.create_sandbox(limit(), &request);
        Ok(self.runtime.block_on(created).map(drop)?)
    }
}

fn hello() -> HelloRequest {
    HelloRequest {
        protocol_version: PROTOCOL_VERSION,
        ..HelloRequest::default()
    }
}

fn limit() -> Context {
    context::with_duration(Duration::from_secs(30))
}
