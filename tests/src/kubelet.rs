//! Volumes as kubelet leaves them on a node, where it leaves them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::bed::Bed;

/// The folder of one pod: `<root>/pods/<uid>`. Dropped, its mounts are gone.
pub struct PodFolder {
    path: PathBuf,
    mounts: Vec<PathBuf>,
}

impl PodFolder {
    /// An empty one for the pod `uid`.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn make(bed: &Bed, uid: &str) -> Result<Self> {
        let path = bed.layout.scratch("kubelet").join("pods").join(uid);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self {
            path,
            mounts: Vec::new(),
        })
    }

    /// An empty volume of `plugin` (`configmap`, `empty-dir`).
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn volume(&self, plugin: &str, name: &str) -> Result<PathBuf> {
        let folder = format!("volumes/kubernetes.io~{plugin}/{name}");
        let path = self.path.join(folder);
        fs::create_dir_all(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o777)))
            .with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// An emptyDir of medium Memory.
    ///
    /// # Errors
    ///
    /// It cannot be mounted.
    pub fn memory(&mut self, name: &str, size: &str) -> Result<PathBuf> {
        let path = self.volume("empty-dir", name)?;
        let options = format!("size={size},mode=0777");
        let kind = Some("tmpfs");
        mount(kind, &path, kind, MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("mount a tmpfs at {}", path.display()))?;
        self.mounts.push(path.clone());
        Ok(path)
    }

    /// An emptyDir of medium HugePages, of `size`: `2M`, `1G`.
    ///
    /// # Errors
    ///
    /// It cannot be mounted.
    pub fn huge_pages(&mut self, name: &str, size: &str) -> Result<PathBuf> {
        let path = self.volume("empty-dir", name)?;
        let options = format!("pagesize={size}");
        let (kind, options) = (Some("hugetlbfs"), Some(options.as_str()));
        mount(Some("nodev"), &path, kind, MsFlags::empty(), options)
            .with_context(|| format!("mount huge pages at {}", path.display()))?;
        self.mounts.push(path.clone());
        Ok(path)
    }

    /// `subPath: below` of the emptyDir `volume`, for the container's mount
    /// `number`. kubelet makes the folder where nothing is of that name.
    ///
    /// # Errors
    ///
    /// It cannot be mounted.
    pub fn sub_path(&mut self, volume: &str, below: &str, number: u32) -> Result<PathBuf> {
        let from = self.volume("empty-dir", volume)?.join(below);
        self.bind(&from, &format!("volume-subpaths/{volume}/main/{number}"))
    }

    /// Binds `from`, a folder unless it is a file, to `to` in the pod's folder.
    ///
    /// # Errors
    ///
    /// It cannot be mounted.
    pub fn bind(&mut self, from: &Path, to: &str) -> Result<PathBuf> {
        let to = self.path.join(to);
        let parent = to.parent().unwrap_or(&self.path);
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        let made = match from.is_file() {
            true => fs::write(&to, ""),
            false => fs::create_dir_all(from).and_then(|()| fs::create_dir_all(&to)),
        };
        made.with_context(|| format!("make {}", to.display()))?;
        let none = None::<&str>;
        mount(Some(from), &to, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("bind {} to {}", from.display(), to.display()))?;
        self.mounts.push(to.clone());
        Ok(to)
    }
}

impl Drop for PodFolder {
    fn drop(&mut self) {
        for point in self.mounts.iter().rev() {
            // What is not mounted any more needs nothing.
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A volume that kubelet writes: configMap, secret, downwardAPI, projected.
pub struct Written {
    /// Where it is on the host.
    pub path: PathBuf,
    revision: u32,
}

impl Written {
    /// A volume of `plugin` with `files`.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn make(pod: &PodFolder, plugin: &str, name: &str, files: &[(&str, &str)]) -> Result<Self> {
        let path = pod.volume(plugin, name)?;
        let mut written = Self { path, revision: 0 };
        written.write(files)?;
        Ok(written)
    }

    /// Replaces its content, in the steps of kubelet's `atomic_writer`.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&mut self, files: &[(&str, &str)]) -> Result<()> {
        self.replace(files)
            .with_context(|| format!("write the volume {}", self.path.display()))
    }

    fn replace(&mut self, files: &[(&str, &str)]) -> std::io::Result<()> {
        let folder = |revision| format!("..2026_11_26_10_00_00.{revision}");
        let before = folder(self.revision);
        self.revision += 1;
        let now = folder(self.revision);
        for (name, text) in files {
            let file = self.path.join(&now).join(name);
            fs::create_dir_all(file.parent().unwrap_or(&self.path))?;
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
        }
        fs::set_permissions(self.path.join(&now), fs::Permissions::from_mode(0o755))?;
        symlink(&now, self.path.join("..data_tmp"))?;
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data"))?;
        self.link(files)?;
        match self.revision {
            1 => Ok(()),
            _ => fs::remove_dir_all(self.path.join(before)),
        }
    }

    fn link(&self, files: &[(&str, &str)]) -> std::io::Result<()> {
        let first = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        let wanted: Vec<_> = files.iter().map(|(name, _)| first(name)).collect();
        for name in &wanted {
            match symlink(Path::new("..data").join(name), self.path.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error);
                }
                _ => {}
            }
        }
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !wanted.contains(&name) {
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }
}
