//! Where things are in the bed's folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The bed's folder. Paths of sockets are kept short: 107 bytes is the most.
#[derive(Clone, Debug)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// Makes the folders below `folder`.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let layout = Self {
            folder: folder.to_owned(),
        };
        let folders = [
            layout.cni(),
            layout.cni_plugins(),
            layout.more_settings(),
            layout.programs(),
            layout.logs(),
            layout.tmp(),
        ];
        for path in folders {
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        Ok(layout)
    }

    /// containerd's persistent data.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// containerd's running state: bundles.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// containerd's gRPC socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("c.sock")
    }

    /// Logs of pods, as kubelet's `/var/log/pods`.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// What containerd and its shims have for `TMPDIR`.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    /// The shim's configuration.
    #[must_use]
    pub fn shim_config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// containerd's own log, and its shims'.
    #[must_use]
    pub fn containerd_log(&self) -> PathBuf {
        self.folder.join("containerd.log")
    }

    /// A file of a case's own; it goes away with the bed.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn scratch_file(&self) -> PathBuf {
        self.folder.join("scratch.img")
    }

    pub(super) fn containerd_config(&self) -> PathBuf {
        self.folder.join("containerd.toml")
    }

    /// Files here add to [`Self::containerd_config`].
    pub(super) fn more_settings(&self) -> PathBuf {
        self.folder.join("containerd.d")
    }

    /// Programs of the bed's own.
    pub(super) fn programs(&self) -> PathBuf {
        self.folder.join("programs")
    }

    pub(super) fn opt(&self) -> PathBuf {
        self.folder.join("opt")
    }

    pub(super) fn cni(&self) -> PathBuf {
        self.folder.join("cni")
    }

    pub(super) fn cni_plugins(&self) -> PathBuf {
        self.folder.join("cni-plugins")
    }

    pub(super) fn images(&self) -> PathBuf {
        self.folder.join("images.tar")
    }

    pub(super) fn ready_socket(&self) -> PathBuf {
        self.folder.join("ready.sock")
    }
}
