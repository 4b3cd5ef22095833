//! Stopping and removing a pod, whoever started it.

use std::time::Duration;

use futures::future::try_join_all;

use crate::cri::v1::{ContainerState, PodSandbox, PodSandboxFilter};
use crate::cri::{Client, CriError};
use crate::manifest::to_cri::POD_UID;

use super::find::{containers_of, grace_period};
use super::folder::{FolderError, Folders};

/// How long containers have from their stop signal to SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// As long as the pod's manifest says.
    OfPod,
    /// This long.
    Fixed(Duration),
}

/// A pod that cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum TeardownError {
    /// The runtime refused.
    #[error(transparent)]
    Cri(#[from] CriError),
    /// Its folder stays.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Stops the containers of a pod, all at once, then its sandbox, and removes
/// them and the pod's folder.
///
/// # Errors
/// All of [`TeardownError`]; what was done until then stays done, and trying
/// again goes on from there.
pub async fn teardown(
    client: &Client,
    folders: &Folders,
    pod: &PodSandbox,
    grace: Grace,
) -> Result<(), TeardownError> {
    stop_running(client, &pod.id, grace).await?;
    client.stop_pod_sandbox(&pod.id).await?;
    client.remove_pod_sandbox(&pod.id).await?;
    let uid = pod.metadata.as_ref().map(|metadata| metadata.uid.as_str());
    Ok(remove_folder(folders, uid.unwrap_or_default())?)
}

/// Removes all sandboxes of the pod with this uid, and its folder.
///
/// # Errors
/// As [`teardown`].
pub async fn teardown_uid(
    client: &Client,
    folders: &Folders,
    uid: &str,
    grace: Grace,
) -> Result<(), TeardownError> {
    for pod in sandboxes_of(client, uid).await? {
        teardown(client, folders, &pod, grace).await?;
    }
    Ok(remove_folder(folders, uid)?)
}

/// Stops the pod with this uid and gives its VM back; containers and logs stay.
///
/// # Errors
/// [`TeardownError::Cri`].
pub async fn stop_uid(client: &Client, uid: &str) -> Result<(), TeardownError> {
    for pod in sandboxes_of(client, uid).await? {
        stop_running(client, &pod.id, Grace::OfPod).await?;
        client.stop_pod_sandbox(&pod.id).await?;
    }
    Ok(())
}

async fn sandboxes_of(client: &Client, uid: &str) -> Result<Vec<PodSandbox>, CriError> {
    let filter = PodSandboxFilter {
        label_selector: [(POD_UID.to_owned(), uid.to_owned())].into(),
        ..Default::default()
    };
    client.list_pod_sandboxes(filter).await
}

/// Stops the running containers of a sandbox, all at once.
pub(super) async fn stop_running(
    client: &Client,
    sandbox_id: &str,
    grace: Grace,
) -> Result<(), CriError> {
    let mut containers = containers_of(client, sandbox_id).await?;
    containers.retain(|container| container.state() == ContainerState::ContainerRunning);
    let stops = containers.iter().map(|container| async move {
        let grace = match grace {
            Grace::OfPod => grace_period(container),
            Grace::Fixed(grace) => grace,
        };
        match client.stop_container(&container.id, grace).await {
            // It was removed meanwhile.
            Err(error) if error.is_not_found() => Ok(()),
            stopped => stopped,
        }
    });
    try_join_all(stops).await?;
    Ok(())
}

fn remove_folder(folders: &Folders, uid: &str) -> Result<(), FolderError> {
    match folders.of(uid) {
        Some(folder) => folder.remove(),
        None => Ok(()),
    }
}
