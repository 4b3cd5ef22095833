//! The virtio-fs server keeps every file open that the guest's kernel knows. When
//! it asks for relief, the guest is made to forget some.

use protocol::Code;
use tokio::net::UnixStream;

use crate::agent::Agent;

/// Brings the server's `requests` to `agent`, as long as there is one.
///
/// One at a time, however many there are: the guest makes the server ask.
pub(super) async fn bring(requests: UnixStream, agent: Agent) {
    let mut forgotten = [0; 64];
    while requests.readable().await.is_ok() {
        match requests.try_read(&mut forgotten) {
            // The server has ended.
            Ok(0) => return,
            Ok(_) => {}
            Err(_) => continue,
        }
        match agent.forget_files().await {
            Err(failure) if failure.code == Code::Unavailable => return,
            Err(failure) => tracing::warn!(error = failure.message, "have files forgotten"),
            Ok(()) => {}
        }
    }
}
