//! Files that are installed on a node.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use config::Config;

use super::Finding;
use super::containerd::Daemon;

const SHIM: &str = "containerd-shim-kata-mshv-vm-isolation-v2";
const INSTALL: &str = "install it (`make install`), or set";

/// Where containerd is looked for when nothing is known of it.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `built_in`: whether the built-in VMM runs the VMs.
pub(super) fn examine(config: &Config, daemon: &Daemon, built_in: bool) -> Vec<Finding> {
    let mut findings = vec![
        file("guest kernel", &config.guest.kernel, "guest.kernel", false),
        file(
            "initramfs",
            &config.guest.initramfs,
            "guest.initramfs",
            false,
        ),
        file("fs device", &config.devices.fs, "devices.fs", true),
        file("vsock device", &config.devices.vsock, "devices.vsock", true),
        shim(daemon),
    ];
    if built_in {
        let vmm = file("VMM", &config.built_in.path, "built_in.path", true);
        findings.push(vmm);
    }
    findings
}

fn file(subject: &'static str, path: &Path, key: &str, program: bool) -> Finding {
    let advice = format!("{INSTALL} {key}");
    match fs::metadata(path) {
        Err(error) => Finding::fail(subject, format!("{}: {error}", path.display()), advice),
        Ok(metadata) if !is_usable(&metadata, program) => {
            let wanted = if program {
                "an executable file"
            } else {
                "a file with content"
            };
            Finding::fail(
                subject,
                format!("{} is not {wanted}", path.display()),
                advice,
            )
        }
        Ok(metadata) => Finding::ok(
            subject,
            format!("{}, {} KiB", path.display(), metadata.len() / 1024),
        ),
    }
}

fn is_usable(metadata: &Metadata, program: bool) -> bool {
    let executable = metadata.permissions().mode() & 0o111 != 0;
    metadata.is_file() && metadata.len() > 0 && (executable || !program)
}

/// containerd looks for the shim in its own `PATH` and beside itself.
fn shim(daemon: &Daemon) -> Finding {
    const SUBJECT: &str = "shim";
    if let Some(path) = &daemon.runtime_path {
        return file(SUBJECT, path, "runtime_path of the handler", true);
    }
    let folders = daemon.search_path.as_deref().unwrap_or(USUAL_PATH);
    let beside = daemon
        .program
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_owned);
    let candidates: Vec<PathBuf> = std::env::split_paths(folders)
        .chain(beside)
        .map(|folder| folder.join(SHIM))
        .collect();
    match candidates.iter().find(|candidate| candidate.is_file()) {
        Some(path) => file(SUBJECT, path, "runtime_path of the handler", true),
        None => Finding::fail(
            SUBJECT,
            format!("no {SHIM} in containerd's PATH ({folders})"),
            "install it (`make install`), or set runtime_path of the handler",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level;

    #[test]
    fn a_program_must_be_executable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SHIM);
        fs::write(&path, "x").unwrap();
        assert_eq!(file("f", &path, "k", false).level, Level::Ok);
        assert_eq!(file("f", &path, "k", true).level, Level::Fail);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(file("f", &path, "k", true).level, Level::Ok);
        fs::write(&path, "").unwrap();
        assert_eq!(file("f", &path, "k", false).level, Level::Fail);
    }

    #[test]
    fn the_shim_is_looked_for_where_containerd_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SHIM);
        let daemon = |search_path: &str, program: &str| Daemon {
            search_path: Some(search_path.to_owned()),
            program: Some(folder.path().join(program)),
            ..Daemon::default()
        };
        assert_eq!(
            shim(&daemon("/nonexistent", "containerd")).level,
            Level::Fail
        );
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(shim(&daemon("/nonexistent", "containerd")).level, Level::Ok);
        let in_path = daemon(&folder.path().to_string_lossy(), "elsewhere/containerd");
        assert_eq!(shim(&in_path).level, Level::Ok);
    }
}
