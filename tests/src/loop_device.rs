//! A block device of the host's, on a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A loop device; dropped, it is none any more.
pub struct LoopDevice {
    device: PathBuf,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl LoopDevice {
    /// Of so many MiB of zeros.
    ///
    /// # Errors
    ///
    /// What `losetup` (util-linux) says.
    pub fn new(mib: u64) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for a disk")?;
        let file = folder.path().join("disk");
        File::create(&file)
            .and_then(|file| file.set_len(mib << 20))
            .context("make a disk's file")?;
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).arg(&file);
        let output = losetup.output().context("run losetup")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "losetup: {said}");
        let device = String::from_utf8_lossy(&output.stdout).trim().into();
        Ok(Self {
            device,
            file,
            _folder: folder,
        })
    }

    /// Its node.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// What is on it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn content(&self) -> Result<Vec<u8>> {
        std::fs::read(&self.file).context("read a disk's file")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // One that is in use goes with its last user.
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.device)
            .status();
    }
}
