//! Whether this kernel can redirect packets between interfaces: tried out in a
//! network namespace that ends with the attempt.

use std::thread;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::Handle;
use tokio::sync::oneshot;

/// Index of the loopback interface in a new namespace.
const LOOPBACK: i32 = 1;
/// Parent of filters on an ingress qdisc: `ffff:` (tc(8)).
const INGRESS: u32 = 0xffff_0000;
/// All protocols, `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

/// Packets cannot be redirected.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedirectError {
    #[error("cannot make a network namespace to try it in")]
    Namespace(#[source] nix::Error),
    #[error("cannot open a netlink socket")]
    Netlink(#[source] std::io::Error),
    #[error("cannot add an ingress qdisc")]
    Qdisc(#[source] rtnetlink::Error),
    #[error("cannot add a redirecting filter")]
    Filter(#[source] rtnetlink::Error),
    #[error("the attempt ended without an answer")]
    Lost,
}

/// Adds an ingress qdisc and a redirecting filter, as the shim does for a pod.
pub(super) async fn try_redirect() -> Result<(), RedirectError> {
    let (answer, answered) = oneshot::channel();
    // The namespace is the thread's alone and goes with it.
    thread::spawn(move || answer.send(attempt()));
    answered.await.unwrap_or(Err(RedirectError::Lost))
}

fn attempt() -> Result<(), RedirectError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(RedirectError::Namespace)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(RedirectError::Netlink)?.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(RedirectError::Netlink)?;
        tokio::spawn(connection);
        redirect(&handle).await
    })
}

async fn redirect(handle: &Handle) -> Result<(), RedirectError> {
    let qdisc = handle.qdisc().replace(LOOPBACK).ingress().execute();
    qdisc.await.map_err(RedirectError::Qdisc)?;
    let filter = handle.traffic_filter(LOOPBACK).add();
    let filter = filter.parent(INGRESS).protocol(ALL_PROTOCOLS);
    let filter = filter
        .redirect(LOOPBACK.unsigned_abs())
        .map_err(RedirectError::Filter)?;
    filter.execute().await.map_err(RedirectError::Filter)
}
