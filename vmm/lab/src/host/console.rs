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
        let text = |file: &File| {
            // What cannot be read is not shown.
            let bytes = contents(file).unwrap_or_default();
            last_lines(
                &String::from_utf8_lossy(&bytes).replace('\r', ""),
                LINES_SHOWN,
            )
        };
        format!("{}\n{}", text(&self.guest), text(&self.qemu))
            .trim()
            .to_owned()
    }
}

/// Without moving the position, at which QEMU writes.
fn contents(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
