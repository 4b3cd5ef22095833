//! PID 1 of a guest whose half of an installation was left behind by an
//! upgrade: it answers the greeting with a version that no shim knows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use futures::stream;
use protocol::agent::{HelloRequest, HelloResponse};
use protocol::agent_ttrpc::{Agent, create_agent};
use protocol::{PROTOCOL_VERSION, ports};
use tokio_vsock::{VsockAddr, VsockStream};
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{Server, TtrpcContext};

struct OtherVersion;

#[async_trait]
impl Agent for OtherVersion {
    async fn hello(&self, _: &TtrpcContext, _: HelloRequest) -> ttrpc::Result<HelloResponse> {
        Ok(HelloResponse {
            protocol_version: PROTOCOL_VERSION + 41,
            agent_version: "0.0.0-other".to_owned(),
            ..HelloResponse::default()
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let host = VsockAddr::new(ports::HOST_CID, ports::CONTROL);
    let connection = VsockStream::connect(host).await.context("dial the host")?;
    let one = stream::iter([Ok::<_, std::io::Error>(connection)]);
    let service = create_agent(Arc::new(OtherVersion));
    let mut server = Server::new()
        .add_listener(Listener::new(one))
        .register_service(service);
    server.start().await.context("serve the host")?;
    // The machine is taken away; a PID 1 that ends would be a panic besides.
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}
