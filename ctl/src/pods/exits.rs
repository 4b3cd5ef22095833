//! Waiting for the end of a container.

use std::time::Duration;

use crate::cri::v1::ContainerState;
use crate::cri::{Client, CriError};

/// How often the runtime is asked. Its stream of events is of no use here:
/// containerd 1.7 hands each event to one reader, and that is kubelet's.
const INTERVAL: Duration = Duration::from_millis(200);

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    /// Its exit code.
    pub code: i32,
    /// The runtime's word for it, such as `Completed` or `OOMKilled`.
    pub reason: String,
    /// How long it ran.
    pub ran: Duration,
}

/// Waits until a container has exited. None where it is not there any more.
///
/// # Errors
/// What asking the runtime meets.
pub async fn wait_for_exit(client: &Client, id: &str) -> Result<Option<ContainerExit>, CriError> {
    loop {
        let status = match client.container_status(id).await {
            Err(error) if error.is_not_found() => return Ok(None),
            status => status?,
        };
        match status.state() {
            ContainerState::ContainerExited | ContainerState::ContainerUnknown => {
                let nanos = status.finished_at.saturating_sub(status.started_at);
                return Ok(Some(ContainerExit {
                    code: status.exit_code,
                    reason: status.reason,
                    ran: Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()),
                }));
            }
            ContainerState::ContainerCreated | ContainerState::ContainerRunning => {
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}
