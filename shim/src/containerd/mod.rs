//! containerd's side: its protocol in, its events out.

mod bootstrap;
mod events;
mod metrics;
mod sandbox_service;
mod task_service;

use std::collections::HashMap;
use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use protocol::agent::ContainerStatsResponse;
use protocol::{Code, Failure};
use ttrpc::asynchronous::Service;

pub(crate) use bootstrap::StartRequest;
pub(crate) use events::{Event, publish};

use crate::pod::{Pod, Target};

/// Everything that containerd may ask.
pub(crate) fn services(pod: &Pod) -> HashMap<String, Service> {
    let mut services = task_service::services(pod);
    services.extend(sandbox_service::services(pod));
    services
}

/// Runs an operation to its end, even if the client goes away meanwhile.
async fn run<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send + 'static>(
    pod: &Pod,
    operation: impl FnOnce(Pod) -> F,
) -> ttrpc::Result<T> {
    let finished = tokio::spawn(operation(pod.clone())).await;
    let result = finished.unwrap_or_else(|error| {
        Err(Failure::new(
            Code::Internal,
            format!("the operation failed: {error}"),
        ))
    });
    Ok(result?)
}

/// A container's figures, or those of all of the pod; where nobody counts these,
/// the VM's process stands for them.
async fn figures(pod: &Pod, target: &Target) -> Result<ContainerStatsResponse, Failure> {
    Ok(match (pod.stats(target).await?, pod.vm_pid()) {
        (Some(counted), _) => counted,
        (None, Some(vm)) => metrics::of_process(vm),
        (None, None) => ContainerStatsResponse::default(),
    })
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        ..Default::default()
    }
}
