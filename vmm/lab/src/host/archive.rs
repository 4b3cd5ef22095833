//! The lab's initramfs: a cpio archive in its "newc" form (kernel
//! documentation, driver-api/early-userspace/buffer-format), written as it
//! goes, so that a large file is never in this process's memory.

use std::collections::BTreeSet;
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;
const TRAILER: &str = "TRAILER!!!";

pub(super) struct Archive<W> {
    to: W,
    /// Bytes so far; headers and contents begin at multiples of 4.
    length: u64,
    folders: BTreeSet<String>,
    inode: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            length: 0,
            folders: BTreeSet::new(),
            inode: 0,
        }
    }

    /// A file of `size` bytes at `path`, without a leading slash; the folders
    /// above it come with it. An error of `contents` is `contents`' to tell:
    /// what it lacks of `size` is an error here.
    pub(super) fn file(
        &mut self,
        path: &str,
        mode: u32,
        size: u32,
        contents: &mut dyn io::Read,
    ) -> io::Result<()> {
        self.folders_above(path)?;
        self.header(path, FILE | mode, size, (0, 0))?;
        let copied = io::copy(&mut io::Read::take(contents, u64::from(size)), &mut self.to)?;
        self.length += copied;
        if copied < u64::from(size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad()
    }

    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.folders_above(path)?;
        if self.folders.insert(path.to_owned()) {
            self.header(path, DIRECTORY, 0, (0, 0))?;
        }
        Ok(())
    }

    pub(super) fn character_device(&mut self, path: &str, numbers: (u32, u32)) -> io::Result<()> {
        self.folders_above(path)?;
        self.header(path, CHARACTER_DEVICE, 0, numbers)
    }

    pub(super) fn end(mut self) -> io::Result<W> {
        self.header(TRAILER, 0, 0, (0, 0))?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn folders_above(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((above, _)) => self.folder(above),
            None => Ok(()),
        }
    }

    /// Links are never counted: each file is its own.
    fn header(
        &mut self,
        path: &str,
        mode: u32,
        size: u32,
        (major, minor): (u32, u32),
    ) -> io::Result<()> {
        self.inode += 1;
        let name_size = path.len() + 1;
        let header = format!(
            "070701{inode:08x}{mode:08x}{zero:08x}{zero:08x}{one:08x}{zero:08x}{size:08x}\
             {zero:08x}{zero:08x}{major:08x}{minor:08x}{name_size:08x}{zero:08x}{path}\0",
            inode = self.inode,
            zero = 0,
            one = 1,
        );
        self.to.write_all(header.as_bytes())?;
        self.length += header.len() as u64;
        self.pad()
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.length.next_multiple_of(4) - self.length;
        self.length += missing;
        io::copy(&mut io::Read::take(io::repeat(0), missing), &mut self.to).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.file("init", 0o755, 3, &mut &b"abc"[..]).unwrap();
        archive
            .file("a/b/data", 0o600, 5, &mut &b"12345"[..])
            .unwrap();
        archive
            .file("a/b/more", 0o644, 0, &mut io::empty())
            .unwrap();
        archive.folder("a").unwrap();
        archive.end().unwrap()
    }

    /// What another program makes of it.
    fn listing(archive: &[u8]) -> String {
        let mut program = Command::new("bsdtar")
            .args(["-tvf", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bsdtar: install libarchive-tools");
        program.stdin.take().unwrap().write_all(archive).unwrap();
        let output = program.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn another_program_reads_it() {
        let listing = listing(&archive());
        let found: Vec<(&str, &str, &str)> = listing
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words[0], words[4], *words.last().unwrap())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("-rwxr-xr-x", "3", "init"),
                ("drwxr-xr-x", "0", "a"),
                ("drwxr-xr-x", "0", "a/b"),
                ("-rw-------", "5", "a/b/data"),
                ("-rw-r--r--", "0", "a/b/more"),
            ]
        );
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let mut archive = Archive::new(Vec::new());
        let error = archive.file("a", 0o644, 9, &mut &b"12345"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
