//! Connections to the pod's localhost through the runtime, as
//! `kubectl port-forward` makes them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctl::cri::stream::Forward;
use nix::sched::{CloneFlags, setns};
use tokio::time::timeout;

use crate::bed::Bed;
use crate::harness::{cases, patient};
use crate::pod::{ContainerSpec, Pod, container, pod};

cases![any: loopback_alone, loopback_of_ipv6_alone, data_comes_back_whole, refused_is_said, no_connection_stays];

/// Waits until something listens on port 80 (0x50), on whatever address.
const LISTENS: &str =
    "until grep -q ':0050 [0:]* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done";

const GET: &str = "GET /index.html HTTP/1.0\r\n\r\n";

/// Serves a page on port 80 of `address`, and on no other.
async fn serve_on(pod: &Pod, address: &str) -> Result<()> {
    let page = "mkdir -p /www; echo hello > /www/index.html";
    let server = format!("{page}; httpd -f -h /www -p {address}:80");
    let container = container("main", &["sh", "-c", &server]).start(pod).await?;
    container.ask(&["sh", "-c", LISTENS]).await?;
    Ok(())
}

async fn loopback_alone(bed: &Bed) -> Result<()> {
    let pod = pod("four").run(bed).await?;
    serve_on(&pod, "127.0.0.1").await?;
    let Forward {
        input, mut output, ..
    } = pod.forward(80).await?;
    input
        .write(GET.as_bytes())
        .await
        .context("send a request")?;
    let answer = timeout(patient(Duration::from_secs(20)), output.to_end())
        .await
        .context("port 80 says nothing")?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.ends_with("hello\n"), "it said {answer:?}");
    pod.remove().await
}

/// containerd takes what `localhost` is from the node's files, which may not know
/// of `::1`: so it is dialled from where containerd dials.
async fn loopback_of_ipv6_alone(bed: &Bed) -> Result<()> {
    let pod = pod("six").run(bed).await?;
    serve_on(&pod, "[::1]").await?;
    let answer = tokio::task::spawn_blocking(|| answer_in_namespace("[::1]:80")).await??;
    ensure!(answer.ends_with("hello\n"), "it said {answer:?}");
    let refused = tokio::task::spawn_blocking(|| answer_in_namespace("[::1]:7")).await?;
    let refused = refused.err().context("nobody refuses [::1]:7")?;
    ensure!(refused.kind() == ErrorKind::ConnectionRefused, "{refused}");
    pod.remove().await
}

/// Asks what listens at `address` of the network namespace of the bed's only pod.
fn answer_in_namespace(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut namespaces = std::fs::read_dir("/run/netns")?;
    let path = namespaces.next().ok_or(ErrorKind::NotFound)??.path();
    let inside = move || {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
        let mut stream = TcpStream::connect_timeout(&address, patient(Duration::from_secs(5)))?;
        stream.write_all(GET.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    // The namespace is a thread's: this one enters, and ends.
    let thread = std::thread::spawn(inside);
    let lost = |_| Err(std::io::Error::other("the thread panicked"));
    thread.join().unwrap_or_else(lost)
}

async fn data_comes_back_whole(bed: &Bed) -> Result<()> {
    let pod = pod("echo").run(bed).await?;
    let echo = "nc -l -p 80 -e cat";
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
    let silent = "nc -l -p 80 -e cat";
    let container = container("main", &["sh", "-c", silent]).start(&pod).await?;
    container.ask(&["sh", "-c", LISTENS]).await?;
    let Forward {
        input, mut output, ..
    } = pod.forward(80).await?;
    input.write(b"x").await.context("send a byte")?;
    let connected = "until grep -q ':0050 .* 01 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done";
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
