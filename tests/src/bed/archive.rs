//! Debian's archive, read with lists of our own: the host's sources and
//! installed packages play no part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A mirror for networks that do not reach the default one.
const MIRROR: &str = "KATA_MSHV_DEBIAN_MIRROR";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// Fresh package lists of the suites, for as long as this lives.
pub(super) struct Archive {
    folder: TempDir,
    mirror: String,
}

impl Archive {
    pub(super) fn open(progress: &impl Fn(&str)) -> Result<Self> {
        let mirror = std::env::var(MIRROR).unwrap_or_else(|_| DEFAULT_MIRROR.to_owned());
        let folder = tempfile::Builder::new().prefix("kata-mshv-apt.").tempdir();
        let folder = folder.context("make a folder for package lists")?;
        let archive = Self { folder, mirror };
        archive.write_sources()?;
        progress("reading Debian's package lists");
        archive.apt(&["-qq", "update"], archive.folder.path())?;
        Ok(archive)
    }

    /// Downloads `name/suite` and returns the package's file.
    pub(super) fn download(&self, package: &str) -> Result<PathBuf> {
        let target = self.folder.path().join("download").join(package);
        fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
        self.apt(&["-qq", "download", package], &target)?;
        let file = fs::read_dir(&target)?.flatten().next();
        let file = file.with_context(|| format!("apt-get download {package} left no file"))?;
        Ok(file.path())
    }

    fn write_sources(&self) -> Result<()> {
        let text = format!(
            "Types: deb\n\
             URIs: {}\n\
             Suites: bookworm trixie sid\n\
             Components: main\n\
             Architectures: amd64\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            self.mirror
        );
        for folder in ["parts", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.folder.path().join(folder)).context("make apt's folders")?;
        }
        fs::write(self.folder.path().join("parts/debian.sources"), text)
            .context("write apt's sources")
    }

    fn apt(&self, arguments: &[&str], folder: &Path) -> Result<()> {
        let own = |name: &str| self.folder.path().join(name).display().to_string();
        let settings = [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={}", own("parts")),
            format!("Dir::State::Lists={}", own("lists")),
            format!("Dir::Cache={}", own("cache")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // The folder is root's alone, so apt's own user cannot write there.
            "APT::Sandbox::User=root".to_owned(),
            // A list that cannot be had is an error, not a warning.
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        let mut command = Command::new("apt-get");
        command
            .current_dir(folder)
            .env("DEBIAN_FRONTEND", "noninteractive");
        for setting in settings {
            command.args(["-o", &setting]);
        }
        let output = command.args(arguments).output();
        let output = output.context("run apt-get: the bed's containerd is Debian's")?;
        ensure!(
            output.status.success(),
            "apt-get {} cannot use Debian's archive at {} (set {MIRROR} to another mirror):\n{}",
            arguments.join(" "),
            self.mirror,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}
