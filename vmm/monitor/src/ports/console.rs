//! Where the guest's console goes. The guest must never wait for whoever
//! reads it: what has no room is lost, and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Bytes that are collected before they are written without a line's end. A
/// write for each byte would fill a socket with little messages.
const LINE: usize = 1024;

/// Bytes that had no room, of all consoles that count here: clones are the same
/// count.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<AtomicU64>);

impl Lost {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The console's other end.
pub struct Console {
    output: Option<File>,
    line: Vec<u8>,
    lost: Lost,
}

impl Console {
    /// To a pipe, a socket or a file; nowhere without one. It is set not to
    /// block, for everybody who shares it. What has no room is counted in `lost`.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn new(output: Option<OwnedFd>, lost: Lost) -> io::Result<Self> {
        if let Some(fd) = &output {
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
            fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(Self {
            output: output.map(File::from),
            line: Vec::new(),
            lost,
        })
    }

    /// Writes what has been collected.
    pub fn flush_line(&mut self) {
        let bytes = self.line.as_slice();
        let written = match &mut self.output {
            // In parts only if there is no room for more.
            Some(output) => output.write(bytes).unwrap_or(0),
            None => bytes.len(),
        };
        self.lost.add(bytes.len().saturating_sub(written));
        self.line.clear();
    }
}

/// Takes everything at once.
impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' || self.line.len() >= LINE {
                self.flush_line();
            }
        }
        Ok(bytes.len())
    }

    /// At a line's end, not after each byte.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn nobody_who_does_not_read_holds_the_guest_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let lost = Lost::default();
        let mut console = Console::new(Some(theirs.into()), lost.clone()).unwrap();
        let line = [b'x'; 99];
        let mut sent = 0_u64;
        while lost.bytes() == 0 {
            console.write_all(&line).unwrap();
            console.write_all(b"\n").unwrap();
            sent += 100;
            assert!(sent < 100 << 20, "nothing is ever lost");
        }
        assert!(lost.bytes() <= sent);
        drop(ours);
        console.write_all(b"to nobody\n").unwrap();
    }

    #[test]
    fn lines_without_an_end_do_not_pile_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut console = Console::new(Some(theirs.into()), Lost::default()).unwrap();
        console.write_all(&[b'x'; LINE + 10]).unwrap();
        let mut buffer = [0; 2 * LINE];
        let read = io::Read::read(&mut &ours, &mut buffer).unwrap();
        assert_eq!(read, LINE);
    }
}
