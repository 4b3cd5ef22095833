//! containerd and what it needs, unpacked from Debian's packages into the
//! user's cache. Nothing is installed on the host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, process};

use anyhow::{Context, Result, bail, ensure};

use super::Version;
use super::archive::Archive;

/// Packages whose files every containerd here shares. runc of newer suites
/// wants a newer C library than older hosts have.
const TOOLS: &[&str] = &[
    "runc/bookworm",
    "containernetworking-plugins/bookworm",
    "busybox-static/bookworm",
];

/// What the snapshotter `erofs` makes its layers with, and the libraries of the
/// suite that has it: it runs with those, whatever the host has.
const EROFS: &[&str] = &[
    "erofs-utils/trixie",
    "libc6/trixie",
    "libdeflate0/trixie",
    "liblz4-1/trixie",
    "liblzma5/trixie",
    "libpcre2-8-0/trixie",
    "libselinux1/trixie",
    "libuuid1/trixie",
    "libxxhash0/trixie",
    "libzstd1/trixie",
    "zlib1g/trixie",
];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Packages {
    containerd: PathBuf,
    tools: PathBuf,
    erofs: PathBuf,
}

impl Packages {
    /// Finds the unpacked packages for `version`, fetching those that are not
    /// there. `progress` is told what takes time.
    ///
    /// # Errors
    ///
    /// The archive cannot be reached, a package cannot be unpacked, or the
    /// suite has moved on to another version of containerd.
    pub fn fetch(version: Version, progress: impl Fn(&str)) -> Result<Self> {
        let cache = cache()?;
        let containerd = cache.join(version.prefix());
        let found = Self {
            containerd,
            tools: cache.join("tools"),
            erofs: cache.join("erofs"),
        };
        // Each appears as a whole: what is there is complete, and may be on a
        // disk that cannot be written to.
        let all = [&found.containerd, &found.tools, &found.erofs];
        if !all.iter().all(|folder| folder.exists()) {
            found.complete(&cache, version, &progress)?;
        }
        found.check(version)?;
        Ok(found)
    }

    /// Fetches what is missing.
    fn complete(&self, cache: &Path, version: Version, progress: &impl Fn(&str)) -> Result<()> {
        fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
        let _lock = lock(&cache.join("lock"))?;
        let package = format!("containerd/{}", version.suite());
        let mut archive = None;
        let targets = [
            (&self.containerd, &[package.as_str()][..]),
            (&self.tools, TOOLS),
            (&self.erofs, EROFS),
        ];
        for (target, packages) in targets {
            if !target.exists() {
                let archive = match &mut archive {
                    Some(archive) => archive,
                    none => none.insert(Archive::open(progress)?),
                };
                unpack(archive, packages, target, progress)?;
            }
        }
        Ok(())
    }

    /// Folder of `containerd`, `ctr` and `containerd-shim-runc-v2`.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.containerd.join("usr/bin")
    }

    /// Folder of `runc`.
    #[must_use]
    pub fn runc(&self) -> PathBuf {
        self.tools.join("usr/sbin")
    }

    /// Folder of the CNI plugins.
    #[must_use]
    pub fn cni(&self) -> PathBuf {
        self.tools.join("usr/lib/cni")
    }

    /// A script that is `mkfs.erofs`.
    pub(super) fn mkfs_erofs(&self) -> String {
        let root = self.erofs.join("usr");
        let libraries = root.join("lib/x86_64-linux-gnu");
        let (root, libraries) = (root.display(), libraries.display());
        format!(
            "#!/bin/sh\nexec {libraries}/ld-linux-x86-64.so.2 --library-path {libraries} \
             {root}/bin/mkfs.erofs \"$@\"\n"
        )
    }

    /// A static busybox.
    #[must_use]
    pub fn busybox(&self) -> PathBuf {
        self.tools.join("bin/busybox")
    }

    /// The version that containerd itself tells: `1.7.24~ds1`.
    fn check(&self, version: Version) -> Result<()> {
        let program = self.bin().join("containerd");
        let output = Command::new(&program).arg("--version").output();
        let output = output.with_context(|| format!("run {} --version", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text.split_whitespace().nth(2).unwrap_or_default();
        let told = told.trim_start_matches('v');
        ensure!(
            told.starts_with(&format!("{}.", version.prefix())),
            "{} is containerd {told:?}, not {}.x: remove {} to fetch it again; if that does not \
             help, Debian's {} has moved on",
            program.display(),
            version.prefix(),
            self.containerd.display(),
            version.suite(),
        );
        Ok(())
    }
}

/// `${KATA_MSHV_CACHE}/containerd`, by default below the user's cache folder.
fn cache() -> Result<PathBuf> {
    let of_user = || {
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
        cache.map(|cache| cache.join("kata-mshv-vm-isolation"))
    };
    let cache = env::var_os("KATA_MSHV_CACHE").map(PathBuf::from);
    let cache = cache.or_else(of_user);
    let cache = cache.context("no folder for the cache: set HOME or KATA_MSHV_CACHE")?;
    Ok(cache.join("containerd"))
}

/// Two test runs may start at the same time.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// Fetches `packages` and unpacks them together as `target`, all or nothing.
fn unpack(
    archive: &Archive,
    packages: &[&str],
    target: &Path,
    progress: &impl Fn(&str),
) -> Result<()> {
    let partial = target.with_extension(format!("partial-{}", process::id()));
    for package in packages {
        progress(&format!("fetching {package} from Debian"));
        let file = archive.download(package)?;
        let status = Command::new("dpkg-deb")
            .arg("-x")
            .arg(&file)
            .arg(&partial)
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => bail!("dpkg-deb -x {} ended with {status}", file.display()),
            Err(error) => return Err(error).context("run dpkg-deb, of Debian's package dpkg"),
        }
    }
    fs::rename(&partial, target)
        .with_context(|| format!("move {} to {}", partial.display(), target.display()))
}
