//! Connections to the pod's localhost through the runtime, as
//! `kubectl port-forward` makes them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctl::cri::stream::Forward;
use tokio::time::{sleep, timeout};

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, Pod, container, pod};

cases![any: each_family_alone, data_comes_back_whole, refused_is_said, no_connection_stays];

/// Answers `hello` on port 80 of one loopback address, and on no other.
fn only_on(address: &str) -> String {
    format!("while :; do echo hello | nc -l -s {address} -p 80; done")
}

async fn each_family_alone(bed: &Bed) -> Result<()> {
    for (name, address) in [("four", "127.0.0.1"), ("six", "::1")] {
        let pod = pod(name).run(bed).await?;
        let server = container("main", &["sh", "-c", &only_on(address)]);
        server.start(&pod).await?;
        let text = text_from(&pod, 80).await?;
        ensure!(text == "hello\n", "{address} said {text:?}");
        pod.remove().await?;
    }
    Ok(())
}

/// All that the port says. Nothing may listen there yet.
async fn text_from(pod: &Pod, port: u16) -> Result<String> {
    let attempt = async {
        loop {
            let Forward {
                input, mut output, ..
            } = pod.forward(port).await?;
            let text = output.to_end().await;
            drop(input);
            if !text.is_empty() {
                return anyhow::Ok(String::from_utf8(text)?);
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(patient(Duration::from_secs(20)), attempt)
        .await
        .with_context(|| format!("port {port} says nothing"))?
}

async fn data_comes_back_whole(bed: &Bed) -> Result<()> {
    let pod = pod("echo").run(bed).await?;
    let echo = "nc -l -s 127.0.0.1 -p 80 -e cat";
    let container = container("main", &["sh", "-c", echo]).start(&pod).await?;
    container.ask(&["sh", "-c", LISTENS]).await?;
    let sent: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let Forward {
        input, mut output, ..
    } = pod.forward(80).await?;
    let send = async { input.write(&sent).await };
    let receive = async {
        let mut received = Vec::new();
        while received.len() < sent.len() {
            let Some(piece) = output.chunk().await else {
                break;
            };
            received.extend_from_slice(&piece);
        }
        received
    };
    let both = async { tokio::join!(send, receive) };
    let (written, received) = timeout(patient(Duration::from_secs(30)), both)
        .await
        .context("1 MiB does not come back")?;
    written.context("send 1 MiB")?;
    ensure!(received == sent, "{} bytes came back", received.len());
    drop((input, output));
    pod.remove().await
}

/// Waits until something listens on port 80 (0x50) of 127.0.0.1.
const LISTENS: &str = "until grep -q ' 0100007F:0050 .* 0A ' /proc/net/tcp; do sleep 0.1; done";

async fn refused_is_said(bed: &Bed) -> Result<()> {
    let pod = pod("refused").run(bed).await?;
    ContainerSpec::idle("main").start(&pod).await?;
    let Forward {
        mut output,
        mut error,
        ..
    } = pod.forward(7).await?;
    let both = async { tokio::join!(output.to_end(), error.to_end()) };
    let (output, error) = timeout(patient(Duration::from_secs(10)), both)
        .await
        .context("nobody refuses a port on which nothing listens")?;
    let error = String::from_utf8_lossy(&error);
    ensure!(output.is_empty(), "{output:?} came from a closed port");
    ensure!(error.contains("connection refused"), "it said {error:?}");
    pod.remove().await
}

/// The pod goes while a connection is open, and so does the connection.
async fn no_connection_stays(bed: &Bed) -> Result<()> {
    let pod = pod("open").run(bed).await?;
    let silent = "nc -l -s 127.0.0.1 -p 80 -e sleep 1000";
    let container = container("main", &["sh", "-c", silent]).start(&pod).await?;
    container.ask(&["sh", "-c", LISTENS]).await?;
    let Forward {
        input, mut output, ..
    } = pod.forward(80).await?;
    input.write(b"x").await.context("send a byte")?;
    let connected = "until grep -q ' 0100007F:0050 .* 01 ' /proc/net/tcp; do sleep 0.1; done";
    container.ask(&["sh", "-c", connected]).await?;
    drop(input);
    let removed = pod.remove();
    let ended = async { output.to_end().await };
    let both = async { tokio::join!(removed, ended) };
    let (removed, _) = timeout(patient(Duration::from_secs(30)), both)
        .await
        .context("the connection outlives its pod")?;
    removed
}
