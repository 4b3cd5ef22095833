//! Initramfs archives for guests that misbehave, in the kernel's `newc` form
//! (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::neighbour::neighbour;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive in the making.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an entry; `device` is major and minor of a device's node.
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large"))?;
        let name_size = u32::try_from(name.len() + 1).context("a name is too long")?;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    /// Names and data each end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn write(mut self, path: &Path) -> Result<()> {
        self.add("TRAILER!!!", 0, (0, 0), &[])?;
        fs::write(path, self.bytes).with_context(|| format!("write {}", path.display()))
    }
}

/// With the folders and the console that a kernel expects.
fn archive() -> Result<Archive> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "bin"] {
        archive.add(folder, FOLDER, (0, 0), &[])?;
    }
    archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
    Ok(archive)
}

/// A guest whose init is the shell script `script`.
///
/// # Errors
///
/// `busybox` cannot be read, or `path` not be written.
pub fn of_script(path: &Path, busybox: &Path, script: &str) -> Result<()> {
    let shell = fs::read(busybox).with_context(|| format!("read {}", busybox.display()))?;
    let mut archive = archive()?;
    archive.add("bin/busybox", PROGRAM, (0, 0), &shell)?;
    let script = format!("#!/bin/busybox sh\n{script}\n");
    archive.add("init", PROGRAM, (0, 0), script.as_bytes())?;
    archive.write(path)
}

/// A guest whose agent speaks another version of the protocol.
///
/// # Errors
///
/// That agent is not built, or `path` cannot be written.
pub fn of_other_agent(path: &Path) -> Result<()> {
    let agent = neighbour("agent-of-another-version")?;
    let agent = fs::read(&agent).with_context(|| format!("read {}", agent.display()))?;
    let mut archive = archive()?;
    archive.add("init", PROGRAM, (0, 0), &agent)?;
    archive.write(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let mut archive = Archive::default();
        archive.add("a", PROGRAM, (0, 0), b"12345").unwrap();
        archive.add("bc", FOLDER, (0, 0), &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        archive.write(&path).unwrap();
        let bytes = fs::read(path).unwrap();
        // 110 bytes of header, name with its end, padding; then the data.
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..117], b"12345");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}
