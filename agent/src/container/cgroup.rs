//! A container's cgroup (cgroup v2: kernel documentation, "Control Group v2").

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::v2::manager::{Manager, V2ManagerError};
use oci_spec::runtime::LinuxResources;
use protocol::{Code, Id};
use tokio::io::Interest;
use tokio::time::timeout;

use super::paths;
use super::resources::{self, Present};
use crate::descriptor;

/// How long the kernel may take to stop or to bury a container's processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel did not do to a cgroup what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("{action} cgroup file {path:?}")]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cgroup {path:?} did not become {wanted} in {} s", PATIENCE.as_secs())]
    Timeout { path: PathBuf, wanted: &'static str },
    #[error("apply resource limits")]
    Limits(#[from] Box<V2ManagerError>),
}

impl CgroupError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Timeout { .. } => Code::DeadlineExceeded,
            // What the kernel refuses is a value that it cannot have.
            Self::Limits(_) => Code::InvalidArgument,
            Self::File { .. } => Code::Internal,
        }
    }
}

type Result<T, E = CgroupError> = std::result::Result<T, E>;

/// The processes of one container.
#[derive(Debug)]
pub(crate) struct Cgroup {
    id: Id,
    path: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup of container `id`.
    pub(crate) fn create(id: &Id) -> Result<Self> {
        let path = paths::cgroup(id);
        std::fs::create_dir(&path).map_err(failed("make", &path))?;
        Ok(Self {
            id: id.clone(),
            path,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Kills every process in it.
    pub(crate) fn kill(&self) -> Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Stops every process in it, or lets them go on; returns when they have.
    pub(crate) async fn freeze(&self, frozen: bool) -> Result<()> {
        let (value, wanted) = if frozen {
            ("1", "frozen")
        } else {
            ("0", "thawed")
        };
        self.write("cgroup.freeze", value)?;
        let frozen = self.wait_for("frozen", value, wanted).await;
        if frozen.is_err() {
            // Not half of it.
            self.write("cgroup.freeze", "0")?;
        }
        frozen
    }

    /// The processes in it and in the cgroups it has made, in the guest's numbers.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let mut processes = Vec::new();
        for folder in tree(&self.path).map_err(failed("list", &self.path))? {
            let path = folder.join("cgroup.procs");
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    processes.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()))
                }
                // A cgroup may go at any time; one with threads of their own lists no processes.
                Err(error) if folder == self.path => return Err(failed("read", &path)(error)),
                Err(_) => {}
            }
        }
        // Processes of another PID namespace, seen as 0, are not ours.
        processes.retain(|pid| *pid != 0);
        Ok(processes)
    }

    /// Applies `limits`, as far as the guest can; `devices` are the container's
    /// own rules, without which libcgroups would install others.
    pub(crate) fn update(&self, mut limits: LinuxResources, own: &LinuxResources) -> Result<()> {
        resources::adapt(&mut limits, &self.path, &Present::read());
        limits.set_devices(own.devices().clone());
        let options = ControllerOpt {
            resources: &limits,
            freezer_state: None,
            oom_score_adj: None,
            disable_oom_killer: false,
        };
        let root = PathBuf::from("/sys/fs/cgroup");
        let path = PathBuf::from("/pod").join(self.id.as_str());
        let apply = || Manager::new(root, path)?.apply(&options);
        apply().map_err(|error| CgroupError::Limits(Box::new(error)))
    }

    /// Removes it, with all that the container has made in it, once the last of
    /// its processes is gone.
    pub(crate) async fn remove(&self) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        self.kill()?;
        self.wait_for("populated", "0", "empty").await?;
        let mut folders = tree(&self.path).map_err(failed("list", &self.path))?;
        // Children after their parents: the other way round.
        folders.reverse();
        folders
            .iter()
            .try_for_each(|folder| std::fs::remove_dir(folder).map_err(failed("remove", folder)))
    }

    /// Waits until `cgroup.events` has `key` at `value`. The kernel announces
    /// its changes to whoever polls the file.
    async fn wait_for(&self, key: &str, value: &str, wanted: &'static str) -> Result<()> {
        let path = self.path.join("cgroup.events");
        let file = std::fs::File::open(&path).map_err(failed("open", &path))?;
        let file =
            descriptor::watch(file.into(), Interest::PRIORITY).map_err(failed("poll", &path))?;
        let changed = async {
            loop {
                // Cleared before the look, so that no change falls between.
                let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
                if field(&text, key) == Some(value) {
                    return Ok(());
                }
                file.ready(Interest::PRIORITY)
                    .await
                    .map_err(failed("poll", &path))?
                    .clear_ready();
            }
        };
        let late = |_| CgroupError::Timeout {
            path: self.path.clone(),
            wanted,
        };
        timeout(PATIENCE, changed).await.map_err(late)?
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        std::fs::write(&path, value).map_err(failed("write", &path))
    }
}

/// `path` and all folders in it, parents first.
fn tree(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = vec![path.to_owned()];
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        match std::fs::read_dir(&folder) {
            Ok(entries) => folders.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            ),
            Err(error) if folder == path => return Err(error),
            Err(_) => {}
        }
    }
    Ok(folders)
}

/// The value of `key` in lines of `key value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "populated 1\nfrozen 0\n";
        assert_eq!(field(text, "frozen"), Some("0"));
        assert_eq!(field(text, "popul"), None);
    }

    #[test]
    fn parents_come_before_their_children() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let folders = tree(root.path()).unwrap();
        let expected = ["", "a", "a/b"].map(|path| root.path().join(path));
        assert_eq!(
            folders,
            [
                root.path().to_owned(),
                expected[1].clone(),
                expected[2].clone()
            ]
        );
    }
}
