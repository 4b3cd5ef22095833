//! Calls about pod sandboxes.

use std::time::Duration;

use super::client::{CALL, call, required, timed};
use super::v1::{
    ListPodSandboxRequest, PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxStatus,
    PodSandboxStatusRequest, PodSandboxStatusResponse, RemovePodSandboxRequest,
    RunPodSandboxRequest, StopPodSandboxRequest,
};
use super::{Client, CriError};

/// kubelet gives the start of a sandbox twice its usual time.
const RUN: Duration = Duration::from_secs(240);

impl Client {
    /// Creates and starts a sandbox and returns its id. `handler` is a runtime
    /// handler of the runtime's configuration; empty means its default.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn run_pod_sandbox(
        &self,
        config: PodSandboxConfig,
        handler: &str,
    ) -> Result<String, CriError> {
        let subject = sandbox_name(&config);
        let request = RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler.to_owned(),
        };
        let mut api = self.runtime.clone();
        let answer = call(
            "RunPodSandbox",
            &subject,
            api.run_pod_sandbox(timed(request, RUN)),
        );
        Ok(answer.await?.pod_sandbox_id)
    }

    /// Stops a sandbox: its containers are killed and its network is given
    /// back. Stopping a stopped or unknown sandbox is no error.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let mut api = self.runtime.clone();
        call(
            "StopPodSandbox",
            id,
            api.stop_pod_sandbox(timed(request, CALL)),
        )
        .await?;
        Ok(())
    }

    /// Removes a sandbox with the containers in it.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let mut api = self.runtime.clone();
        call(
            "RemovePodSandbox",
            id,
            api.remove_pod_sandbox(timed(request, CALL)),
        )
        .await?;
        Ok(())
    }

    /// State, addresses and labels of a sandbox.
    ///
    /// # Errors
    /// [`CriError::Rpc`], [`CriError::Incomplete`].
    pub async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, CriError> {
        let answer = self.pod_sandbox_status_verbose(id, false).await?;
        required(answer.status, "PodSandboxStatus", id, "status")
    }

    /// As [`Client::pod_sandbox_status`], the whole answer; `verbose` fills its
    /// `info` with the runtime's internals (JSON).
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn pod_sandbox_status_verbose(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose,
        };
        let mut api = self.runtime.clone();
        call(
            "PodSandboxStatus",
            id,
            api.pod_sandbox_status(timed(request, CALL)),
        )
        .await
    }

    /// The sandboxes that `filter` admits; the default filter admits all.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn list_pod_sandboxes(
        &self,
        filter: PodSandboxFilter,
    ) -> Result<Vec<PodSandbox>, CriError> {
        let request = ListPodSandboxRequest {
            filter: Some(filter),
        };
        let mut api = self.runtime.clone();
        let answer = call(
            "ListPodSandbox",
            "",
            api.list_pod_sandbox(timed(request, CALL)),
        );
        Ok(answer.await?.items)
    }
}

/// `namespace/name` of a sandbox, for messages.
fn sandbox_name(config: &PodSandboxConfig) -> String {
    let Some(metadata) = &config.metadata else {
        return "without metadata".to_owned();
    };
    format!("{}/{}", metadata.namespace, metadata.name)
}
