//! QEMU: is it there, which version, and can it do what a VM needs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Finding;

const SUBJECT: &str = "qemu";

/// The devices of a VM that not every build of QEMU has.
const DEVICES: &[&str] = &[
    "vhost-user-fs-pci",
    "vhost-user-vsock-pci",
    "virtio-net-pci",
];

pub(super) fn examine(program: &Path, accel: &str) -> Finding {
    let Some(path) = find_program(program) else {
        let found = format!("{} is not there", program.display());
        return Finding::fail(SUBJECT, found, "install qemu-system-x86, or set qemu.path");
    };
    let told = |args: &[&str]| {
        run(&path, args).map_err(|error| {
            let found = format!("{} does not run: {error}", path.display());
            Finding::fail(SUBJECT, found, "install it again, or set qemu.path")
        })
    };
    let answers = told(&["--version"]).and_then(|version| {
        let accels = told(&["-accel", "help"])?;
        Ok((version, accels, told(&["-device", "help"])?))
    });
    match answers {
        Ok((version, accels, devices)) => judge(&path, &version, &accels, &devices, accel),
        Err(finding) => finding,
    }
}

fn judge(path: &Path, version: &str, accels: &str, devices: &str, accel: &str) -> Finding {
    let found = format!("{}, {}", path.display(), first_line(version));
    if !accels.lines().any(|line| line.trim() == accel) {
        let found = format!("{found}: built without the accelerator {accel}");
        let advice = "install a newer QEMU (mshv needs 10.2), or set qemu.accel";
        return Finding::fail(SUBJECT, found, advice);
    }
    let has = |device: &str| devices.contains(&format!("\"{device}\""));
    let missing: Vec<_> = DEVICES
        .iter()
        .copied()
        .filter(|device| !has(device))
        .collect();
    if !missing.is_empty() {
        let found = format!("{found}: built without {}", missing.join(", "));
        return Finding::fail(SUBJECT, found, "install a full build of QEMU");
    }
    Finding::ok(SUBJECT, found)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn run(path: &Path, args: &[&str]) -> io::Result<String> {
    let output = Command::new(path).args(args).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(output.status.to_string())),
    }
}

/// An absolute path, or a name looked up in `PATH`.
fn find_program(program: &Path) -> Option<PathBuf> {
    if program.is_absolute() {
        return program.exists().then(|| program.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&folders).map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Level;

    const DEVICE_HELP: &str = "name \"vhost-user-fs-pci\", bus PCI
name \"vhost-user-vsock-pci\", bus PCI
name \"virtio-net-pci\", bus PCI, alias \"virtio-net\"
";

    fn judged(accels: &str, devices: &str, accel: &str) -> Finding {
        judge(
            Path::new("/q"),
            "QEMU emulator version 7.2.1\nCopyright",
            accels,
            devices,
            accel,
        )
    }

    #[test]
    fn a_full_build_is_shown_with_its_version() {
        let finding = judged("Accelerators supported:\ntcg\nkvm\n", DEVICE_HELP, "kvm");
        assert_eq!(finding.level, Level::Ok);
        assert_eq!(finding.found, "/q, QEMU emulator version 7.2.1");
    }

    #[test]
    fn what_a_build_lacks_is_named() {
        let finding = judged("tcg\n", DEVICE_HELP, "mshv");
        assert!(
            finding.found.ends_with("without the accelerator mshv"),
            "{}",
            finding.found
        );
        let finding = judged("tcg\n", &DEVICE_HELP.replace("vhost-user-fs", "x"), "tcg");
        assert!(
            finding.found.ends_with("without vhost-user-fs-pci"),
            "{}",
            finding.found
        );
    }

    #[test]
    fn a_program_that_is_not_there_fails() {
        assert_eq!(
            examine(Path::new("/nonexistent/qemu"), "tcg").level,
            Level::Fail
        );
        assert_eq!(examine(Path::new("/bin/false"), "tcg").level, Level::Fail);
    }
}
