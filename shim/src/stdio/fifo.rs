//! Opening containerd's ends of a standard stream.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use tokio::net::unix::pipe;

/// The read end of stdin, and a write end of ours that keeps it open while
/// containerd comes and goes; dropped on `CloseIO`.
pub(crate) struct Stdin {
    pub(crate) reader: pipe::Receiver,
    pub(crate) keeper: File,
}

/// Opens `path` for reading the process's input.
pub(crate) fn open_stdin(path: &Path) -> io::Result<Stdin> {
    let reader = pipe::OpenOptions::new().open_receiver(path)?;
    let keeper = OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    Ok(Stdin { reader, keeper })
}

/// Where a process's output goes.
pub(crate) enum Output {
    /// containerd's FIFO. Opened for reading too: a containerd that restarts
    /// must not break the container's pipe.
    Fifo(pipe::Sender),
    /// A plain file (`file://`).
    File(tokio::fs::File),
}

/// Opens `path` for the process's output.
pub(crate) fn open_output(path: &Path) -> io::Result<Output> {
    if std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo()) {
        let sender = pipe::OpenOptions::new()
            .read_write(true)
            .open_sender(path)?;
        return Ok(Output::Fifo(sender));
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(Output::File(tokio::fs::File::from_std(file)))
}
