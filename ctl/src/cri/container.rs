//! Calls about containers.

use std::time::Duration;

use super::client::{CALL, call, required, timed};
use super::v1::{
    Container, ContainerConfig, ContainerFilter, ContainerStats, ContainerStatsRequest,
    ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest,
    ExecSyncRequest, ExecSyncResponse, LinuxContainerResources, ListContainersRequest,
    PodSandboxConfig, RemoveContainerRequest, ReopenContainerLogRequest, StartContainerRequest,
    StopContainerRequest, UpdateContainerResourcesRequest,
};
use super::{Client, CriError};

impl Client {
    /// Creates a container in a sandbox and returns its id. `sandbox_config`
    /// must be the one that the sandbox was run with.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, CriError> {
        let subject = container_name(&config);
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let mut api = self.runtime.clone();
        let answer = call(
            "CreateContainer",
            &subject,
            api.create_container(timed(request, CALL)),
        );
        Ok(answer.await?.container_id)
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = StartContainerRequest {
            container_id: id.to_owned(),
        };
        let mut api = self.runtime.clone();
        call(
            "StartContainer",
            id,
            api.start_container(timed(request, CALL)),
        )
        .await?;
        Ok(())
    }

    /// Sends a container its stop signal, and SIGKILL after `grace` (whole
    /// seconds; zero kills at once). Returns when it has stopped.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let request = StopContainerRequest {
            container_id: id.to_owned(),
            timeout: whole_seconds(grace),
        };
        let mut api = self.runtime.clone();
        let limit = grace.saturating_add(CALL);
        call(
            "StopContainer",
            id,
            api.stop_container(timed(request, limit)),
        )
        .await?;
        Ok(())
    }

    /// Removes a container, killing it first where it runs.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        let mut api = self.runtime.clone();
        call(
            "RemoveContainer",
            id,
            api.remove_container(timed(request, CALL)),
        )
        .await?;
        Ok(())
    }

    /// State, exit code, times and log path (`log_path`, on the runtime's host)
    /// of a container.
    ///
    /// # Errors
    /// [`CriError::Rpc`], [`CriError::Incomplete`].
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let answer = self.container_status_verbose(id, false).await?;
        required(answer.status, "ContainerStatus", id, "status")
    }

    /// As [`Client::container_status`], the whole answer; `verbose` fills its
    /// `info` with the runtime's internals (JSON), the process id among them.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn container_status_verbose(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<ContainerStatusResponse, CriError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose,
        };
        let mut api = self.runtime.clone();
        call(
            "ContainerStatus",
            id,
            api.container_status(timed(request, CALL)),
        )
        .await
    }

    /// The containers that `filter` admits; the default filter admits all.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn list_containers(
        &self,
        filter: ContainerFilter,
    ) -> Result<Vec<Container>, CriError> {
        let request = ListContainersRequest {
            filter: Some(filter),
        };
        let mut api = self.runtime.clone();
        let answer = call(
            "ListContainers",
            "",
            api.list_containers(timed(request, CALL)),
        );
        Ok(answer.await?.containers)
    }

    /// Runs a command to its end and returns its output and exit code. A zero
    /// `limit` means none; past the limit the runtime kills the command and
    /// answers DeadlineExceeded.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn exec_sync<A: AsRef<str>>(
        &self,
        id: &str,
        command: &[A],
        limit: Duration,
    ) -> Result<ExecSyncResponse, CriError> {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command
                .iter()
                .map(|word| word.as_ref().to_owned())
                .collect(),
            timeout: whole_seconds(limit),
        };
        let request = match limit.is_zero() {
            true => tonic::Request::new(request),
            false => timed(request, limit.saturating_add(CALL)),
        };
        let mut api = self.runtime.clone();
        call("ExecSync", id, api.exec_sync(request)).await
    }

    /// Changes the limits of a running container.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn update_container_resources(
        &self,
        id: &str,
        linux: LinuxContainerResources,
    ) -> Result<(), CriError> {
        let request = UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        let mut api = self.runtime.clone();
        let pending = api.update_container_resources(timed(request, CALL));
        call("UpdateContainerResources", id, pending).await?;
        Ok(())
    }

    /// CPU and memory use of a container.
    ///
    /// # Errors
    /// [`CriError::Rpc`], [`CriError::Incomplete`].
    pub async fn container_stats(&self, id: &str) -> Result<ContainerStats, CriError> {
        let request = ContainerStatsRequest {
            container_id: id.to_owned(),
        };
        let mut api = self.runtime.clone();
        let answer = call(
            "ContainerStats",
            id,
            api.container_stats(timed(request, CALL)),
        )
        .await?;
        required(answer.stats, "ContainerStats", id, "stats")
    }

    /// Makes the runtime open a container's log file anew, after a rotation.
    ///
    /// # Errors
    /// [`CriError::Rpc`].
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        let mut api = self.runtime.clone();
        let pending = api.reopen_container_log(timed(request, CALL));
        call("ReopenContainerLog", id, pending).await?;
        Ok(())
    }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Name of a container, for messages.
fn container_name(config: &ContainerConfig) -> String {
    match &config.metadata {
        Some(metadata) => metadata.name.clone(),
        None => "without metadata".to_owned(),
    }
}
