//! The pod's network, seen from the pod and from the node.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, container, pod};

cases![any: addresses_of_both_families, node_reaches_pod, pod_reaches_pod];

/// Answers one line on port 80, on all addresses.
const SERVER: &str = "while :; do echo hello | nc -l -p 80; done";

async fn addresses_of_both_families(bed: &Bed) -> Result<()> {
    let pod = pod("addresses").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    let inside = container
        .ask(&["ip", "-o", "address", "show", "dev", "eth0"])
        .await?;
    let addresses = pod.addresses().await?;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in addresses {
        assert!(
            inside.contains(&format!(" {address}/")),
            "{address} is not in:\n{inside}"
        );
    }
    let route = container.ask(&["ip", "route"]).await?;
    assert!(route.contains("default via 10.88.0.1 dev eth0"), "{route}");
    pod.remove().await
}

async fn node_reaches_pod(bed: &Bed) -> Result<()> {
    let pod = pod("server").run(bed).await?;
    container("main", &["sh", "-c", SERVER]).start(&pod).await?;
    for address in pod.addresses().await? {
        assert_eq!(read_line(&address).await?, "hello\n", "from {address}");
    }
    pod.remove().await
}

/// What listens on `address`, port 80, says. It may not listen yet.
async fn read_line(address: &str) -> Result<String> {
    let attempt = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect((address, 80)).await {
                stream.shutdown().await?;
                let mut text = String::new();
                stream.read_to_string(&mut text).await?;
                return anyhow::Ok(text);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let text = timeout(patient(Duration::from_secs(20)), attempt).await;
    text.with_context(|| format!("nothing listens on {address}, port 80"))?
}

async fn pod_reaches_pod(bed: &Bed) -> Result<()> {
    let server = pod("server").run(bed).await?;
    container("main", &["sh", "-c", SERVER])
        .start(&server)
        .await?;
    let client = pod("client").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&client).await?;
    for address in server.addresses().await? {
        let fetch = format!("until nc {address} 80 < /dev/null; do sleep 0.1; done 2>/dev/null");
        assert_eq!(
            container.ask(&["sh", "-c", &fetch]).await?,
            "hello",
            "from {address}"
        );
    }
    client.remove().await?;
    server.remove().await
}
