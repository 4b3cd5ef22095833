//! Doing something inside a network namespace. A namespace belongs to a
//! thread, and sockets and taps belong to the namespace of the thread that
//! made them: so a short-lived thread enters, makes them, and ends.

use std::fs::File;
use std::io;
use std::path::Path;

use futures::channel::mpsc::UnboundedReceiver;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, MulticastGroup};

use super::NetworkError;

/// Runs `body` in a thread inside the namespace at `path`.
pub(super) fn run_in<T: Send>(
    path: &Path,
    body: impl FnOnce() -> T + Send,
) -> Result<T, NetworkError> {
    let failed = |source| NetworkError::Enter {
        path: path.to_owned(),
        source,
    };
    let inside = || {
        let namespace = File::open(path)?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(body())
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(inside);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
    .map_err(failed)
}

/// What tells that the namespace's network has changed.
pub(super) type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Whose members hear of addresses, routes, rules and neighbours.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Neigh,
];

/// A netlink connection into the namespace at `path`, served by a task.
pub(super) fn netlink(path: &Path) -> Result<(Handle, Events), NetworkError> {
    let runtime = tokio::runtime::Handle::current();
    let connected = run_in(path, || {
        let _entered = runtime.enter();
        rtnetlink::new_multicast_connection(&GROUPS)
    })?;
    let (connection, handle, events) = connected.map_err(NetworkError::Netlink)?;
    // Ends with the last handle.
    tokio::spawn(connection);
    Ok((handle, events))
}
