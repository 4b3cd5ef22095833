//! The one interface that a new network namespace has.

use anyhow::{Context, Result};
use rtnetlink::LinkUnspec;

/// The kernel gives `lo` this index in every network namespace.
const INDEX: u32 = 1;

/// Brings `lo` up: the streaming server of containerd's CRI listens there.
pub(super) fn up() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime for netlink")?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("open netlink")?;
        tokio::spawn(connection);
        let change = LinkUnspec::new_with_index(INDEX).up().build();
        let change = handle.link().set(change).execute();
        change.await.context("bring up the bed's loopback")
    })
}
