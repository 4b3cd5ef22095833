//! The virtio-fs server keeps every file open that the guest's kernel knows. When
//! it asks for relief, the guest is made to forget some.

use protocol::Code;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::agent::Agent;

/// Brings the requests to the guest.
pub(super) struct Relief(JoinHandle<()>);

impl Relief {
    /// Brings those on `requests` to `agent`.
    pub(super) fn start(requests: UnixStream, agent: Agent) -> Self {
        Self(tokio::spawn(run(requests, agent)))
    }

    /// Nobody asks.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(tokio::spawn(async {}))
    }
}

impl Drop for Relief {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One at a time, however many there are: the guest makes the server ask.
async fn run(requests: UnixStream, agent: Agent) {
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
