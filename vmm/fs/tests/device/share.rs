//! The directory that is served, and what the host does to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

const NONE: Option<&str> = None;

/// A shared mount in a mount namespace of this thread, as the shim makes one.
pub(crate) struct Share {
    directory: TempDir,
}

impl Share {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let share = directory.path().join("share");
        fs::create_dir(&share)?;
        fs::create_dir(directory.path().join("outside"))?;
        fs::write(directory.path().join("outside/inside"), "mounted later\n")?;
        unshare(CloneFlags::CLONE_NEWNS).context("this test must run as root")?;
        mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)?;
        mount(Some(&share), &share, NONE, MsFlags::MS_BIND, NONE)?;
        mount(NONE, &share, NONE, MsFlags::MS_SHARED, NONE)?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.beside("share")
    }

    /// A path that the guest must not reach.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Does what the guest asks for, and returns the answer to it.
    pub(crate) fn serve(&self, request: &str) -> String {
        let words: Vec<_> = request.split(' ').collect();
        match self.act(&words) {
            Ok(()) => "DONE".to_owned(),
            Err(error) => format!("FAILED {error:#}"),
        }
    }

    fn act(&self, words: &[&str]) -> anyhow::Result<()> {
        match words {
            ["pattern", name, length] => is_pattern(&self.inside(name), length.parse()?),
            ["contains", name, text] => contains(&self.inside(name), text),
            ["write", name, text] => Ok(fs::write(self.inside(name), format!("{text}\n"))?),
            ["populate", name, count] => populate(&self.inside(name), count.parse()?),
            ["mount", name] => self.bind(&self.inside(name)),
            ["mount-read-only", name] => self.bind_read_only(&self.inside(name)),
            ["unmount", name] => Ok(umount2(&self.inside(name), MntFlags::MNT_DETACH)?),
            ["volume", version] => update_volume(&self.inside("volume"), version),
            ["link-outside", name] => self.link_outside(&self.inside(name)),
            ["swap-for-link", name] => self.swap_for_link(&self.inside(name)),
            other => bail!("unknown request {other:?}"),
        }
    }

    fn inside(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn bind(&self, target: &Path) -> anyhow::Result<()> {
        fs::create_dir(target)?;
        let source = self.beside("outside");
        Ok(mount(Some(&source), target, NONE, MsFlags::MS_BIND, NONE)?)
    }

    /// The way of the shim: read-only before it appears in the share, since a
    /// later change of the flags does not propagate.
    fn bind_read_only(&self, target: &Path) -> anyhow::Result<()> {
        fs::create_dir(target)?;
        let (source, staged) = (self.beside("outside"), self.beside("staged"));
        fs::create_dir(&staged)?;
        mount(Some(&source), &staged, NONE, MsFlags::MS_BIND, NONE)?;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(NONE, &staged, NONE, flags, NONE)?;
        mount(Some(&staged), target, NONE, MsFlags::MS_BIND, NONE)?;
        Ok(umount2(&staged, MntFlags::empty())?)
    }

    fn link_outside(&self, link: &Path) -> anyhow::Result<()> {
        Ok(symlink(self.beside("outside/inside"), link)?)
    }

    fn swap_for_link(&self, directory: &Path) -> anyhow::Result<()> {
        fs::rename(directory, directory.with_extension("moved"))?;
        Ok(symlink(self.beside("outside"), directory)?)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Takes what is mounted under it along. The namespace ends with the
        // thread in any case.
        let _ = umount2(&self.path(), MntFlags::MNT_DETACH);
    }
}

fn is_pattern(file: &Path, length: usize) -> anyhow::Result<()> {
    let bytes = fs::read(file)?;
    ensure!(bytes.len() == length, "{} bytes", bytes.len());
    let wrong = bytes
        .iter()
        .enumerate()
        .find(|(i, byte)| usize::from(**byte) != i % 251);
    ensure!(wrong.is_none(), "wrong byte {wrong:?}");
    Ok(())
}

fn populate(directory: &Path, count: u32) -> anyhow::Result<()> {
    fs::create_dir(directory)?;
    for i in 0..count {
        fs::write(directory.join(i.to_string()), "")?;
    }
    Ok(())
}

fn contains(file: &Path, text: &str) -> anyhow::Result<()> {
    let found = fs::read_to_string(file)?;
    ensure!(found == format!("{text}\n"), "{found:?}");
    Ok(())
}

/// As kubelet updates a configMap: a new directory, and one link swapped.
fn update_volume(volume: &Path, version: &str) -> anyhow::Result<()> {
    let data = format!("..{version}");
    fs::create_dir_all(volume.join(&data))?;
    fs::write(volume.join(&data).join("key"), format!("{version}\n"))?;
    symlink(&data, volume.join("..data_tmp"))?;
    fs::rename(volume.join("..data_tmp"), volume.join("..data"))?;
    if !volume.join("key").exists() {
        symlink("..data/key", volume.join("key"))?;
    }
    Ok(())
}
