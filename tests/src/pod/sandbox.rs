//! A pod's sandbox.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ctl::cri::Client;
use ctl::cri::stream::Forward;
use ctl::cri::v1::{
    DnsConfig, IdMapping, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxFilter, PodSandboxMetadata, PodSandboxStatus,
    PortMapping, Protocol, UserNamespace,
};
use ctl::state::read_records;
use vmm_api::SandboxRecord;

use super::Limits;
use crate::bed::{Bed, Handler};

/// What a pod shall be.
pub struct PodSpec {
    name: String,
    config: PodSandboxConfig,
    handler: Option<Handler>,
}

/// A pod called `name`: one network, nothing of the host.
#[must_use]
pub fn pod(name: &str) -> PodSpec {
    let config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "e2e".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(NamespaceMode::Pod)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    PodSpec {
        name: name.to_owned(),
        config,
        handler: None,
    }
}

/// Each container with processes of its own; the rest is the pod's.
fn namespaces(network: NamespaceMode) -> NamespaceOption {
    NamespaceOption {
        network: network.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

impl PodSpec {
    /// Tells the runtime the sum of the containers' limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        linux.resources = Some(limits.to_cri());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.config
            .annotations
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Has names resolved so.
    #[must_use]
    pub fn dns(mut self, dns: DnsConfig) -> Self {
        self.config.dns_config = Some(dns);
        self
    }

    /// Puts it below a control group, as kubelet does.
    #[must_use]
    pub fn cgroup_parent(mut self, parent: &str) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        linux.cgroup_parent = parent.to_owned();
        self
    }

    /// Sets a sysctl of its security context.
    #[must_use]
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        linux.sysctls.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leads `host`, a TCP port of the node, to `container`.
    #[must_use]
    pub fn port(mut self, host: i32, container: i32) -> Self {
        self.config.port_mappings.push(PortMapping {
            protocol: Protocol::Tcp.into(),
            container_port: container,
            host_port: host,
            host_ip: String::new(),
        });
        self
    }

    /// Allows privileged containers.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().privileged = true;
        self
    }

    /// Gives it a user namespace, as kubelet does for `hostUsers: false`: 65536 ids,
    /// its own 0 being the node's `first`.
    #[must_use]
    pub fn user_namespace(mut self, first: u32) -> Self {
        let ids = vec![IdMapping {
            container_id: 0,
            host_id: first,
            length: 1 << 16,
        }];
        let linux = self.config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        let namespaces = security.namespace_options.get_or_insert_default();
        namespaces.userns_options = Some(UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: ids.clone(),
            gids: ids,
        });
        self
    }

    /// Has its containers share their processes.
    #[must_use]
    pub fn share_processes(mut self) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        let namespaces = security.namespace_options.get_or_insert_default();
        namespaces.pid = NamespaceMode::Pod.into();
        self
    }

    /// Asks for the host's network.
    #[must_use]
    pub fn host_network(mut self) -> Self {
        let linux = self.config.linux.get_or_insert_default();
        let security = linux.security_context.get_or_insert_default();
        security.namespace_options = Some(namespaces(NamespaceMode::Node));
        self
    }

    /// Takes another handler than the bed's.
    #[must_use]
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handler = Some(handler);
        self
    }

    /// Runs the sandbox.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn run(mut self, bed: &Bed) -> Result<Pod> {
        let logs = bed.layout.logs().join(&self.name);
        fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
        self.config.log_directory = logs.display().to_string();
        let client = bed.cri().await?;
        let handler = self.handler.unwrap_or(bed.handler);
        let id = client
            .run_pod_sandbox(self.config.clone(), handler.name())
            .await?;
        Ok(Pod {
            client,
            id,
            config: self.config,
            logs,
        })
    }
}

/// A running pod. It has to be removed by [`Pod::remove`].
pub struct Pod {
    pub(super) client: Client,
    /// Its id in containerd.
    pub id: String,
    pub(super) config: PodSandboxConfig,
    pub(super) logs: PathBuf,
}

impl Pod {
    /// What is the pod's is its containers' too.
    pub(super) fn namespaces(&self) -> NamespaceOption {
        let linux = self.config.linux.as_ref();
        let security = linux.and_then(|linux| linux.security_context.as_ref());
        let namespaces = security.and_then(|security| security.namespace_options.clone());
        namespaces.unwrap_or_default()
    }

    /// All its addresses.
    ///
    /// # Errors
    ///
    /// What the runtime answers; or it has none.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        let status = self.status().await?;
        let network = status.network.context("the pod has no network")?;
        let more = network.additional_ips.into_iter().map(|one| one.ip);
        Ok([network.ip].into_iter().chain(more).collect())
    }

    /// Connects again, after containerd was restarted.
    ///
    /// # Errors
    ///
    /// Nothing answers.
    pub async fn reconnect(&mut self, bed: &Bed) -> Result<()> {
        self.client = bed.cri().await?;
        Ok(())
    }

    /// Its state and addresses.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn status(&self) -> Result<PodSandboxStatus> {
        Ok(self.client.pod_sandbox_status(&self.id).await?)
    }

    /// What its shim wrote down about it.
    ///
    /// # Errors
    ///
    /// There is no such record: the pod has no VM.
    pub fn record(&self) -> Result<SandboxRecord> {
        // The bed's configuration leaves it where it is by default.
        self.record_in(&config::Config::default().state_dir)
    }

    /// The same, from another folder.
    ///
    /// # Errors
    ///
    /// As [`Pod::record`].
    pub fn record_in(&self, state: &Path) -> Result<SandboxRecord> {
        let (records, errors) = read_records(state);
        let found = records
            .into_iter()
            .find(|record| record.sandbox_id == self.id);
        match (found, errors.into_iter().next()) {
            (Some(record), _) => Ok(record),
            (None, Some(error)) => Err(error.into()),
            (None, None) => bail!("sandbox {} has no record", self.id),
        }
    }

    /// Connects to `port` on its localhost, as `kubectl port-forward` does.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn forward(&self, port: u16) -> Result<Forward> {
        Ok(self.client.port_forward(&self.id, port).await?)
    }

    /// Stops it with its containers.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn stop(&self) -> Result<()> {
        Ok(self.client.stop_pod_sandbox(&self.id).await?)
    }

    /// Stops and removes it, its containers and its logs.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn remove(self) -> Result<()> {
        self.stop().await?;
        self.client.remove_pod_sandbox(&self.id).await?;
        fs::remove_dir_all(&self.logs)
            .with_context(|| format!("remove logs {}", self.logs.display()))
    }
}

/// Removes what a pod that did not start left on record.
///
/// # Errors
///
/// What the runtime answers.
pub async fn remove_failed(bed: &Bed) -> Result<()> {
    let client = bed.cri().await?;
    for sandbox in client
        .list_pod_sandboxes(PodSandboxFilter::default())
        .await?
    {
        client.stop_pod_sandbox(&sandbox.id).await?;
        client.remove_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
