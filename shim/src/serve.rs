//! The server of one pod.

#![allow(unsafe_code)] // An inherited descriptor is taken over by its number.

use std::fs;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::{Duration, Instant};

use anyhow::Context;
use containerd_shim::Flags;
use futures::stream;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;

use crate::pod::{Pod, Settings};
use crate::{containerd, log, process, share};

/// Number of the inherited listening socket.
pub(crate) const LISTENER_FD: RawFd = 3;
/// containerd's ttrpc address for events, in the environment.
pub(crate) const EVENTS_ENV: &str = "TTRPC_ADDRESS";

/// How long the end may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until the pod is over.
pub(crate) fn serve(flags: &Flags, began: Instant) -> anyhow::Result<()> {
    let config_path = config::path_of_environment()
        .context("no configuration named: this way of running is for `start` alone")?;
    let config = config::Loaded::read(&config_path)?.config();
    log::init(if flags.debug {
        "debug"
    } else {
        &config.log.level
    });
    // Before there is a second thread: all of them are to be in it.
    share::enter_own_mount_namespace()?;
    let settings = Settings {
        namespace: flags.namespace.clone(),
        config_path,
        began,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let served = runtime.block_on(serve_pod(flags, settings));
    // Not for a thread that waits for a file system which does not answer.
    runtime.shutdown_timeout(LAST_WORDS);
    let _ = fs::remove_file(
        flags
            .socket
            .strip_prefix("unix://")
            .unwrap_or(&flags.socket),
    );
    served
}

async fn serve_pod(flags: &Flags, settings: Settings) -> anyhow::Result<()> {
    let address = std::env::var(EVENTS_ENV).unwrap_or_default();
    let (sender, events) = mpsc::unbounded_channel();
    let publisher = tokio::spawn(containerd::publish(
        address,
        flags.namespace.clone(),
        events,
    ));
    let pod = Pod::new(settings, sender);

    let mut server = Server::new()
        .add_listener(listener()?)
        .register_service(containerd::services(&pod));
    server
        .start()
        .await
        .context("serve containerd's requests")?;
    over(&pod).await?;
    pod.stop().await;
    server.shutdown().await.context("end the server")?;
    drop((server, pod));
    // What has happened is told before the shim goes.
    let told = async {
        process::all_reaped().await;
        publisher.await
    };
    let _ = tokio::time::timeout(LAST_WORDS, told).await;
    Ok(())
}

fn listener() -> anyhow::Result<Listener> {
    // SAFETY: `start` hands the listening socket over at this number, and
    // nothing else in this process has taken it.
    let listener = unsafe { StdUnixListener::from_raw_fd(LISTENER_FD) };
    listener
        .set_nonblocking(true)
        .context("take over the listening socket")?;
    let listener = UnixListener::from_std(listener).context("take over the listening socket")?;
    let connections = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    Ok(Listener::new(connections))
}

/// Waits for containerd's `Shutdown`, or for a signal to end.
async fn over(pod: &Pod) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    tokio::select! {
        () = pod.over() => {}
        _ = terminate.recv() => tracing::info!("ending at SIGTERM"),
        _ = interrupt.recv() => tracing::info!("ending at SIGINT"),
    }
    Ok(())
}
