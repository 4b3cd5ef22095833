//! The sandbox's folder in the state directory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use vmm_api::SandboxRecord;

const RECORD: &str = "sandbox.json";

/// `<state_dir>/<containerd namespace>/<sandbox id>`; removed when dropped.
pub(crate) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Where the folder of a sandbox is or would be.
    pub(crate) fn path_of(state_dir: &Path, namespace: &str, id: &str) -> PathBuf {
        state_dir.join(namespace).join(id)
    }

    /// Makes the folder, and in it `share`, the mount point of the share.
    pub(crate) fn create(state_dir: &Path, namespace: &str, id: &str) -> io::Result<Self> {
        let path = Self::path_of(state_dir, namespace, id);
        private(true).create(state_dir.join(namespace))?;
        private(false).create(&path)?;
        let run_dir = Self { path };
        private(false).create(run_dir.share())?;
        Ok(run_dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn share(&self) -> PathBuf {
        self.path.join("share")
    }

    /// Writes down what the sandbox is, whole or not at all.
    pub(crate) fn write_record(&self, record: &SandboxRecord) -> io::Result<()> {
        let temporary = self.path.join(".sandbox.json");
        fs::write(&temporary, serde_json::to_vec_pretty(record)?)?;
        fs::rename(temporary, self.path.join(RECORD))
    }

    /// Removes the folder, and the namespace's when it was the last in it.
    pub(crate) fn remove(&self) {
        Self::remove_path(&self.path);
    }

    /// The same for the folder that a dead shim left at `path`. Never follows
    /// a mount: the share's mounts are gone with the shim's namespace.
    pub(crate) fn remove_path(path: &Path) {
        let _ = fs::remove_dir(path.join("share"));
        let _ = fs::remove_dir_all(path);
        if let Some(namespace) = path.parent() {
            let _ = fs::remove_dir(namespace);
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        self.remove();
    }
}

fn private(recursive: bool) -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(recursive);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let state = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(state.path(), "k8s.io", "s").unwrap();
        assert!(run_dir.share().is_dir());
        drop(run_dir);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_sandboxes_of_one_name_are_refused() {
        let state = tempfile::tempdir().unwrap();
        let _first = RunDir::create(state.path(), "k8s.io", "s").unwrap();
        let error = RunDir::create(state.path(), "k8s.io", "s").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
