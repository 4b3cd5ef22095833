//! What is kept of a lab for the case that it fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::tail::last_lines;

/// Of each, in an error.
const LINES_SHOWN: usize = 30;

/// What the lab's kernel and QEMU have to say, in memory.
pub(super) struct Console {
    pub(super) guest: File,
    pub(super) qemu: File,
}

impl Console {
    pub(super) fn new() -> io::Result<Self> {
        let memory = |name: &str| memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from);
        Ok(Self {
            guest: memory("lab-console")?,
            qemu: memory("lab-qemu")?,
        })
    }

    pub(super) fn last_words(&self) -> String {
        // What cannot be read is not shown.
        let text = |file: &File| {
            let bytes = contents(file).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        let guest = last_lines(&text(&self.guest), LINES_SHOWN);
        let qemu = last_lines(&without_expected(&text(&self.qemu)), LINES_SHOWN);
        format!("{guest}\n{qemu}").trim().to_owned()
    }
}

/// QEMU emulates less than a whole EPYC and says so, one line for each feature.
fn without_expected(complaints: &str) -> String {
    let unexpected = |line: &&str| !line.contains("TCG doesn't support requested feature");
    let lines: Vec<&str> = complaints.lines().filter(unexpected).collect();
    lines.join("\n")
}

/// Without moving the position, at which QEMU writes.
fn contents(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_words_are_both_ones_without_the_expected() {
        let console = Console::new().unwrap();
        (&console.guest).write_all(b"old\r\n").unwrap();
        (&console.guest)
            .write_all(&b"said\r\n".repeat(LINES_SHOWN))
            .unwrap();
        let complaints = b"q: warning: TCG doesn't support requested feature: X\nq: no file\n";
        (&console.qemu).write_all(complaints).unwrap();
        let words = console.last_words();
        assert_eq!(words.lines().count(), LINES_SHOWN + 1, "{words}");
        assert!(words.starts_with("said\nsaid"), "{words}");
        assert!(words.ends_with("said\nq: no file"), "{words}");
        // Read without being moved: what comes next comes behind.
        (&console.qemu).write_all(b"more\n").unwrap();
        assert!(console.last_words().ends_with("no file\nmore"));
    }
}
