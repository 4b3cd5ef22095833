//! From a checked pod to a running sandbox and its containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cri::v1::{
    ContainerConfig, PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxState,
    PodSandboxStatus,
};
use crate::cri::{Client, CriError};
use crate::manifest::to_cri::{
    ContainerFacts, Image, Node, POD_NAME, POD_NAMESPACE, POD_UID, VolumePaths, container_config,
    hosts_file, sandbox_config,
};
use crate::manifest::{Container, Pod, Refusal};

use super::folder::{FolderError, Folders, PodFolder};
use super::images::{ImageError, ensure_image};
use super::volumes;

/// A pod or container that does not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// One of that name or uid is there.
    #[error("pod {pod} is already there; remove it first (`kata-mshv rm {pod}`)")]
    Exists {
        /// `namespace/name`.
        pod: String,
    },
    /// The uid of the manifest cannot name a folder.
    #[error("pod {pod}: metadata.uid can only have letters, digits and dashes")]
    Uid {
        /// `namespace/name`.
        pod: String,
    },
    /// Its folder or volumes cannot be made.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// An image is missing.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The manifest and the image do not go together.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A container does not start.
    #[error("container {container}")]
    Container {
        /// Its name.
        container: String,
        /// The runtime's answer.
        #[source]
        source: CriError,
    },
    /// The runtime refused.
    #[error(transparent)]
    Cri(#[from] CriError),
}

/// Starts pods.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The runtime.
    pub client: Client,
    /// This host.
    pub node: Arc<Node>,
    /// Where pods get their folders.
    pub folders: Folders,
}

/// A pod whose sandbox runs.
#[derive(Debug)]
pub struct RunningPod {
    /// The manifest.
    pub pod: Pod,
    /// The runtime's id of the sandbox.
    pub sandbox_id: String,
    pub(super) client: Client,
    node: Arc<Node>,
    folder: PodFolder,
    config: PodSandboxConfig,
    images: BTreeMap<String, Image>,
    volumes: VolumePaths,
    ips: Vec<String>,
}

/// A container that was started.
#[derive(Debug, Clone)]
pub struct Started {
    /// The runtime's id.
    pub id: String,
    /// Its log file.
    pub log: PathBuf,
}

impl Launcher {
    /// Makes the pod's folder and volumes, sees to its images and runs its
    /// sandbox. What it leaves behind where it fails is taken away by
    /// [`super::teardown_uid`].
    ///
    /// # Errors
    /// All of [`LaunchError`].
    pub async fn launch(
        &self,
        pod: Pod,
        pulling: impl Fn(&str),
    ) -> Result<RunningPod, LaunchError> {
        self.check_absent(&pod).await?;
        let folder = self
            .folders
            .of(&pod.metadata.uid)
            .ok_or_else(|| LaunchError::Uid {
                pod: pod.full_name(),
            })?;
        folder.create(pod.all_containers().map(|c| c.name.as_str()))?;
        let config = sandbox_config(&pod, &self.node, &folder.logs().to_string_lossy());
        let mut running = RunningPod {
            volumes: volumes::prepare(&pod, &folder)?,
            images: self.images(&pod, &config, pulling).await?,
            pod,
            sandbox_id: String::new(),
            client: self.client.clone(),
            node: self.node.clone(),
            folder,
            config,
            ips: Vec::new(),
        };
        running.check_containers()?;
        running.run_sandbox().await?;
        Ok(running)
    }

    /// Makes sure that no pod of that name runs, and that none has that uid.
    ///
    /// # Errors
    /// [`LaunchError::Exists`], [`LaunchError::Cri`].
    pub async fn check_absent(&self, pod: &Pod) -> Result<(), LaunchError> {
        let metadata = &pod.metadata;
        let name = [
            (POD_NAME, &metadata.name),
            (POD_NAMESPACE, &metadata.namespace),
        ];
        let same_name = self.labelled(&name).await?;
        let same_uid = self.labelled(&[(POD_UID, &metadata.uid)]).await?;
        let runs = |pod: &PodSandbox| pod.state() == PodSandboxState::SandboxReady;
        match same_uid.is_empty() && !same_name.iter().any(runs) {
            true => Ok(()),
            false => Err(LaunchError::Exists {
                pod: pod.full_name(),
            }),
        }
    }

    async fn labelled(&self, labels: &[(&str, &String)]) -> Result<Vec<PodSandbox>, CriError> {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).clone()));
        let filter = PodSandboxFilter {
            label_selector: labels.collect(),
            ..Default::default()
        };
        self.client.list_pod_sandboxes(filter).await
    }

    async fn images(
        &self,
        pod: &Pod,
        config: &PodSandboxConfig,
        pulling: impl Fn(&str),
    ) -> Result<BTreeMap<String, Image>, ImageError> {
        let mut images = BTreeMap::new();
        for container in pod.all_containers() {
            let image = ensure_image(&self.client, container, config, &pulling).await?;
            images.insert(container.name.clone(), image);
        }
        Ok(images)
    }
}

impl RunningPod {
    /// Finds what is wrong with any container before anything runs.
    fn check_containers(&self) -> Result<(), Refusal> {
        let mut containers = self.pod.all_containers();
        containers.try_for_each(|container| self.config_of(container, 0).map(drop))
    }

    fn config_of(&self, container: &Container, attempt: u32) -> Result<ContainerConfig, Refusal> {
        let (hosts_file, unknown) = (self.folder.hosts(), Image::default());
        let facts = ContainerFacts {
            node: &self.node,
            image: self.images.get(&container.name).unwrap_or(&unknown),
            pod_ips: &self.ips,
            volumes: &self.volumes,
            hosts_file: &hosts_file.to_string_lossy(),
            attempt,
        };
        container_config(&self.pod, container, facts)
    }

    async fn run_sandbox(&mut self) -> Result<(), LaunchError> {
        let handler = self.pod.spec.runtime_class_name.clone().unwrap_or_default();
        let config = self.config.clone();
        self.sandbox_id = self.client.run_pod_sandbox(config, &handler).await?;
        self.ips = addresses(self.client.pod_sandbox_status(&self.sandbox_id).await?);
        let host_file = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let path = self.folder.hosts();
        let text = hosts_file(&self.pod, &self.ips, &host_file);
        fs::write(&path, text).map_err(FolderError::at("write", &path))?;
        Ok(())
    }

    /// Creates and starts a container; `attempt` counts its restarts.
    ///
    /// # Errors
    /// [`LaunchError::Container`], and [`LaunchError::Refused`] which
    /// [`Launcher`] would have met before.
    pub async fn start(&self, container: &Container, attempt: u32) -> Result<Started, LaunchError> {
        let config = self.config_of(container, attempt)?;
        let log = self.folder.logs().join(&config.log_path);
        let id = self.create_and_start(config).await;
        let id = id.map_err(|source| LaunchError::Container {
            container: container.name.clone(),
            source,
        })?;
        Ok(Started { id, log })
    }

    async fn create_and_start(&self, config: ContainerConfig) -> Result<String, CriError> {
        let sandbox = self.config.clone();
        let id = self
            .client
            .create_container(&self.sandbox_id, config, sandbox)
            .await?;
        self.client.start_container(&id).await?;
        Ok(id)
    }
}

/// The pod's addresses, the primary one first.
fn addresses(status: PodSandboxStatus) -> Vec<String> {
    let Some(network) = status.network else {
        return Vec::new();
    };
    let more = network.additional_ips.into_iter().map(|ip| ip.ip);
    let all = std::iter::once(network.ip).chain(more);
    all.filter(|ip| !ip.is_empty()).collect()
}
