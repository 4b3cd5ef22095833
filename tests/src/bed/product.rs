//! The files under test.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Names the root of an installation (`make install DESTDIR=...`) to test
/// instead of what was built in place.
const ROOT: &str = "KATA_MSHV_ROOT";

/// Where everything is that was built.
#[derive(Clone, Debug)]
pub struct Product {
    /// The shim's folder, for containerd's `PATH`.
    pub bin: PathBuf,
    /// `kata-mshv-fs`.
    pub fs: PathBuf,
    /// `kata-mshv-vsock`.
    pub vsock: PathBuf,
    /// `kata-mshv-vmm`.
    pub vmm: PathBuf,
    /// The guest's kernel.
    pub kernel: PathBuf,
    /// The guest's initramfs.
    pub initramfs: PathBuf,
}

impl Product {
    /// The product of this build, or the installation that the environment
    /// names.
    ///
    /// # Errors
    ///
    /// The running executable is not in a cargo target folder.
    pub fn find() -> Result<Self> {
        match env::var_os(ROOT) {
            Some(root) => Ok(Self::installed(Path::new(&root))),
            None => Ok(Self::built(&target_folder()?)),
        }
    }

    fn installed(root: &Path) -> Self {
        let libexec = root.join("usr/libexec/kata-mshv-vm-isolation");
        let share = root.join("usr/share/kata-mshv-vm-isolation");
        Self {
            bin: root.join("usr/bin"),
            fs: libexec.join("kata-mshv-fs"),
            vsock: libexec.join("kata-mshv-vsock"),
            vmm: libexec.join("kata-mshv-vmm"),
            kernel: share.join("vmlinux"),
            initramfs: share.join("initramfs.cpio"),
        }
    }

    fn built(target: &Path) -> Self {
        let release = target.join("x86_64-unknown-linux-gnu/release");
        Self {
            fs: release.join("kata-mshv-fs"),
            vsock: release.join("kata-mshv-vsock"),
            vmm: release.join("kata-mshv-vmm"),
            bin: release,
            kernel: target.join("guest/vmlinux"),
            initramfs: target.join("guest/initramfs.cpio"),
        }
    }

    /// The shim itself.
    #[must_use]
    pub fn shim(&self) -> PathBuf {
        self.bin.join("containerd-shim-kata-mshv-vm-isolation-v2")
    }

    /// The operator's command.
    #[must_use]
    pub fn ctl(&self) -> PathBuf {
        self.bin.join("kata-mshv")
    }

    /// Checks that everything a pod needs is there.
    ///
    /// # Errors
    ///
    /// Names what is not, and how to build it.
    pub fn check(&self) -> Result<()> {
        let shim = self.shim();
        let files = [
            &shim,
            &self.fs,
            &self.vsock,
            &self.vmm,
            &self.kernel,
            &self.initramfs,
        ];
        let missing: Vec<_> = files
            .iter()
            .filter(|file| !file.is_file())
            .map(|file| file.display().to_string())
            .collect();
        ensure!(
            missing.is_empty(),
            "not built yet: run `make build`. Missing:\n  {}",
            missing.join("\n  ")
        );
        Ok(())
    }
}

/// The cargo target folder that the running executable is in, at whatever depth.
fn target_folder() -> Result<PathBuf> {
    let exe = env::current_exe().context("find the running executable")?;
    let triple = |folder: &&Path| folder.ends_with("x86_64-unknown-linux-gnu");
    let target = exe.ancestors().find(triple).and_then(Path::parent);
    target.map(Path::to_owned).with_context(|| {
        format!(
            "{} is in no cargo target folder: set {ROOT} to an installation's root",
            exe.display()
        )
    })
}
