//! A container that is to be made.

use std::path::Path;

use anyhow::Result;
use ctl::cri::v1::{
    ContainerConfig, ContainerMetadata, Device, ImageSpec, Int64Value, KeyValue,
    LinuxContainerSecurityContext, Mount, MountPropagation, NamespaceMode, NamespaceOption,
};

use super::{Container, Limits, Pod};
use crate::images;
use crate::task::IDLE;

/// What a container shall be.
pub struct ContainerSpec(ContainerConfig);

/// A container called `name` that runs `command` in a busybox.
#[must_use]
pub fn container(name: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec(ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(image(images::BUSYBOX)),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        log_path: format!("{name}.log"),
        ..Default::default()
    })
}

fn image(name: &str) -> ImageSpec {
    ImageSpec {
        image: name.to_owned(),
        user_specified_image: name.to_owned(),
        ..Default::default()
    }
}

impl ContainerSpec {
    /// One that does nothing until it is told to end.
    #[must_use]
    pub fn idle(name: &str) -> Self {
        container(name, &IDLE)
    }

    /// Takes another image.
    #[must_use]
    pub fn image(mut self, name: &str) -> Self {
        self.0.image = Some(image(name));
        self
    }

    /// The how many-th of its name in the pod, from 0.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.0.metadata.get_or_insert_default().attempt = attempt;
        self
    }

    /// Writes its log to `file` in the pod's log folder.
    #[must_use]
    pub fn log(mut self, file: &str) -> Self {
        self.0.log_path = file.to_owned();
        self
    }

    /// Limits its resources.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.linux.get_or_insert_default().resources = Some(limits.to_cri());
        self
    }

    /// Gives it the device `host`, called `path` in it; `permissions` as kubelet
    /// has them: `mrw`, or `r`.
    #[must_use]
    pub fn device(mut self, host: &Path, path: &str, permissions: &str) -> Self {
        self.0.devices.push(Device {
            host_path: host.display().to_string(),
            container_path: path.to_owned(),
            permissions: permissions.to_owned(),
        });
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.0.envs.push(KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// Starts it in `folder`.
    #[must_use]
    pub fn working_dir(mut self, folder: &str) -> Self {
        self.0.working_dir = folder.to_owned();
        self
    }

    /// Runs it as the user of that number.
    #[must_use]
    pub fn user(mut self, number: i64) -> Self {
        self.security().run_as_user = Some(Int64Value { value: number });
        self
    }

    /// Puts it into more groups than its user's.
    #[must_use]
    pub fn groups(mut self, numbers: &[i64]) -> Self {
        self.security().supplemental_groups = numbers.to_vec();
        self
    }

    /// Hides paths of the kernel from it, and keeps it from writing to others.
    #[must_use]
    pub fn masked(mut self, masked: &[&str], readonly: &[&str]) -> Self {
        let owned = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        self.security().masked_paths = owned(masked);
        self.security().readonly_paths = owned(readonly);
        self
    }

    /// Lets it run on processors of that list alone: `2-3`.
    #[must_use]
    pub fn processors(mut self, list: &str) -> Self {
        let linux = self.0.linux.get_or_insert_default();
        linux.resources.get_or_insert_default().cpuset_cpus = list.to_owned();
        self
    }

    /// How readily the kernel ends it when memory runs out: by its pod's class.
    #[must_use]
    pub fn oom_score(mut self, score: i64) -> Self {
        let linux = self.0.linux.get_or_insert_default();
        linux.resources.get_or_insert_default().oom_score_adj = score;
        self
    }

    /// Has it share the processes of another container of its pod.
    #[must_use]
    pub fn target(mut self, other: &Container) -> Self {
        let options = self.security().namespace_options.get_or_insert_default();
        options.pid = NamespaceMode::Target.into();
        options.target_id.clone_from(&other.id);
        self
    }

    /// Gives it a standard input.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.0.stdin = true;
        self.0.stdin_once = input == Input::Once;
        self.0.tty = input == Input::Terminal;
        self
    }

    /// Shows it a folder or file of the host at `point`.
    #[must_use]
    pub fn mount(
        mut self,
        host: &Path,
        point: &str,
        propagation: MountPropagation,
        readonly: bool,
    ) -> Self {
        self.0.mounts.push(Mount {
            container_path: point.to_owned(),
            host_path: host.display().to_string(),
            readonly,
            propagation: propagation.into(),
            ..Default::default()
        });
        self
    }

    /// Gives it all capabilities and devices.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self.security().privileged = true;
        self
    }

    fn security(&mut self) -> &mut LinuxContainerSecurityContext {
        let linux = self.0.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default()
    }

    /// Creates it.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn create(mut self, pod: &Pod) -> Result<Container> {
        self.join(pod.namespaces());
        let log = pod.logs.join(&self.0.log_path);
        let client = pod.client.clone();
        let id = client
            .create_container(&pod.id, self.0, pod.config.clone())
            .await?;
        Ok(Container { client, id, log })
    }

    /// As kubelet does it: the pod's namespaces are the container's, but for another
    /// one's processes, and the pod's ids those of its mounts.
    fn join(&mut self, mut namespaces: NamespaceOption) {
        let ids = namespaces.userns_options.clone().unwrap_or_default();
        for mount in &mut self.0.mounts {
            mount.uid_mappings = ids.uids.clone();
            mount.gid_mappings = ids.gids.clone();
        }
        let options = self.security().namespace_options.take();
        if let Some(own) = options.filter(|own| !own.target_id.is_empty()) {
            namespaces.pid = own.pid;
            namespaces.target_id = own.target_id;
        }
        self.security().namespace_options = Some(namespaces);
    }

    /// Creates and starts it.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn start(self, pod: &Pod) -> Result<Container> {
        let container = self.create(pod).await?;
        container.start().await?;
        Ok(container)
    }
}

/// What a container's standard input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// One client's, and it ends with that (`stdinOnce`).
    Once,
    /// Any number of clients', one after the other.
    Often,
    /// A terminal's.
    Terminal,
}
