//! A container in a pod.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use ctl::cri::Client;
use ctl::cri::stream::{Output, Session, Stdio};
use ctl::cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, Device, ImageSpec,
    Int64Value, KeyValue, LinuxContainerSecurityContext, Mount, MountPropagation, NamespaceOption,
};
use tokio::time::{Instant, sleep};

use super::{Limits, Logs, Pod};
use crate::ctr::Ended;
use crate::harness::patient;
use crate::images;
use crate::task::{AWAIT_READY, IDLE};

/// Longer than any command of a case takes.
const EXEC: Duration = Duration::from_secs(30);

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

    /// As kubelet does it: the pod's namespaces are the container's, and the pod's
    /// ids those of its mounts.
    fn join(&mut self, namespaces: NamespaceOption) {
        let ids = namespaces.userns_options.clone().unwrap_or_default();
        for mount in &mut self.0.mounts {
            mount.uid_mappings = ids.uids.clone();
            mount.gid_mappings = ids.gids.clone();
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

/// A container. It goes with its pod.
pub struct Container {
    client: Client,
    /// Its id in containerd.
    pub id: String,
    log: PathBuf,
}

impl Container {
    /// Uses the connection of `pod`, after that was made anew.
    pub fn reconnect(&mut self, pod: &Pod) {
        self.client = pod.client.clone();
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn start(&self) -> Result<()> {
        Ok(self.client.start_container(&self.id).await?)
    }

    /// Runs a command in it to its end.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn exec(&self, command: &[&str]) -> Result<Ended> {
        let answer = self
            .client
            .exec_sync(&self.id, command, patient(EXEC))
            .await?;
        Ok(Ended {
            code: Some(answer.exit_code),
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed, and returns its output without the
    /// last line feed.
    ///
    /// # Errors
    ///
    /// What the runtime answers; or another exit code than 0.
    pub async fn ask(&self, command: &[&str]) -> Result<String> {
        let ended = self.exec(command).await?;
        if ended.code != Some(0) {
            bail!("{command:?} ended with {ended:?}");
        }
        Ok(ended.stdout.trim_end_matches('\n').to_owned())
    }

    /// Waits until its command has made the file `/ready`.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn ready(&self) -> Result<()> {
        self.ask(&AWAIT_READY).await?;
        Ok(())
    }

    /// Opens a session with a new process.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn open(&self, command: &[&str], stdio: Stdio) -> Result<Session> {
        Ok(self.client.exec(&self.id, command, stdio).await?)
    }

    /// Runs a command with `input` for its standard input, over a stream.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn stream(&self, command: &[&str], input: &[u8]) -> Result<Output> {
        let session = self
            .open(
                command,
                Stdio {
                    stdin: true,
                    tty: false,
                },
            )
            .await?;
        Ok(session.communicate(input).await?)
    }

    /// What it has written until now.
    ///
    /// # Errors
    ///
    /// The log cannot be read, or is not in CRI's form.
    pub fn logs(&self) -> Result<Logs> {
        Logs::read(&self.log)
    }

    /// What it has written once that is `complete`, or after a few seconds: the
    /// end of a container may be told before its log is written to the end.
    ///
    /// # Errors
    ///
    /// As [`Container::logs`].
    pub async fn logs_when(&self, complete: impl Fn(&Logs) -> bool) -> Result<Logs> {
        let deadline = Instant::now() + patient(Duration::from_secs(5));
        loop {
            let logs = self.logs()?;
            if complete(&logs) || Instant::now() > deadline {
                return Ok(logs);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its state and exit code.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn status(&self) -> Result<ContainerStatus> {
        Ok(self.client.container_status(&self.id).await?)
    }

    /// Waits until it has ended and returns its exit code.
    ///
    /// # Errors
    ///
    /// What the runtime answers; or it has not ended within `limit`.
    pub async fn exit_code(&self, limit: Duration) -> Result<i32> {
        let limit = patient(limit);
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status().await?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status.exit_code);
            }
            if Instant::now() > deadline {
                bail!("the container is {:?} after {limit:?}", status.state());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks it to end, and kills it after `grace`.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn stop(&self, grace: Duration) -> Result<()> {
        Ok(self.client.stop_container(&self.id, grace).await?)
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn remove(self) -> Result<()> {
        Ok(self.client.remove_container(&self.id).await?)
    }

    /// Changes its limits while it runs.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn update(&self, limits: Limits) -> Result<()> {
        let limits = limits.to_cri();
        let updated = self.client.update_container_resources(&self.id, limits);
        Ok(updated.await?)
    }

    /// CPU time in nanoseconds and memory in bytes that it uses.
    ///
    /// # Errors
    ///
    /// What the runtime answers.
    pub async fn usage(&self) -> Result<(u64, u64)> {
        let stats = self.client.container_stats(&self.id).await?;
        let cpu = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds);
        let memory = stats.memory.and_then(|memory| memory.working_set_bytes);
        let value = |value: Option<ctl::cri::v1::UInt64Value>| value.map_or(0, |v| v.value);
        Ok((value(cpu), value(memory)))
    }
}
