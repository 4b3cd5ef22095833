//! Doing something inside a network namespace. A namespace belongs to a
//! thread, and sockets and taps belong to the namespace of the thread that
//! made them: so a short-lived thread enters, makes them, and ends.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use rtnetlink::Handle;

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

/// A netlink connection into the namespace at `path`, served by a task.
pub(super) fn netlink(path: &Path) -> Result<Handle, NetworkError> {
    let runtime = tokio::runtime::Handle::current();
    let connected = run_in(path, || {
        let _entered = runtime.enter();
        rtnetlink::new_connection()
    })?;
    let (connection, handle, _) = connected.map_err(NetworkError::Netlink)?;
    // Ends with the last handle.
    tokio::spawn(connection);
    Ok(handle)
}
