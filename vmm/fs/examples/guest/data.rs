//! File contents.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use anyhow::ensure;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};

use crate::console::Console;
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("read what was written", read_back),
    ("append from two open files", append),
    ("truncate and extend", truncate),
    ("O_DIRECT", direct),
    ("a file over 4 GiB", large),
    ("sparse files and holes", sparse),
    ("a removed file stays open", removed),
    ("the guest runs a program from the share", run_program),
];

/// Bytes that repeat after a prime number of them.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| u8::try_from(i % 251).unwrap_or(0))
        .collect()
}

fn path(name: &str) -> String {
    format!("{SHARE}/{name}")
}

/// A new file, open for reading and writing.
pub(crate) fn read_write(name: &str) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options.open(path(name))
}

fn read_back(console: &mut Console) -> anyhow::Result<()> {
    let bytes = pattern(3 << 20);
    let mut file = File::create(path("plain"))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    file.sync_data()?;
    ensure!(fs::read(path("plain"))? == bytes, "contents differ");
    console.ask("pattern plain 3145728")
}

fn append(_: &mut Console) -> anyhow::Result<()> {
    let open = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path("log"))
    };
    let (mut a, mut b) = (open()?, open()?);
    for _ in 0..100 {
        a.write_all(b"a\n")?;
        b.write_all(b"b\n")?;
    }
    ensure!(fs::read_to_string(path("log"))? == "a\nb\n".repeat(100));
    Ok(())
}

fn truncate(_: &mut Console) -> anyhow::Result<()> {
    fs::write(path("cut"), pattern(100_000))?;
    let file = OpenOptions::new().write(true).open(path("cut"))?;
    file.set_len(10)?;
    file.set_len(20)?;
    let read = fs::read(path("cut"))?;
    ensure!(read[..10] == pattern(10)[..] && read[10..] == [0; 10]);
    Ok(())
}

fn direct(_: &mut Console) -> anyhow::Result<()> {
    let bytes = pattern(1 << 16);
    fs::write(path("direct"), &bytes)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    let file = options.open(path("direct"))?;
    // As dd(1) ends an output that is no multiple of the block size.
    file.write_all_at(&bytes[..100], 1 << 16)?;
    let mut read = vec![0; bytes.len()];
    file.read_exact_at(&mut read, 0)?;
    ensure!(read == bytes);
    Ok(())
}

fn large(_: &mut Console) -> anyhow::Result<()> {
    let at = 5 << 30;
    let file = read_write("large")?;
    file.write_all_at(b"far", at)?;
    let mut read = [0; 3];
    file.read_exact_at(&mut read, at)?;
    ensure!(&read == b"far");
    ensure!(file.metadata()?.len() == at + 3);
    fs::remove_file(path("large"))?;
    Ok(())
}

fn sparse(_: &mut Console) -> anyhow::Result<()> {
    let mut file = read_write("sparse")?;
    file.seek(SeekFrom::Start(1 << 30))?;
    file.write_all(&pattern(1 << 20))?;
    file.sync_all()?;
    ensure!(file.metadata()?.blocks() < 8192, "the hole takes space");
    ensure!(lseek(&file, 0, Whence::SeekData)? == 1 << 30);
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, 1 << 30, 1 << 19)?;
    ensure!(lseek(&file, 0, Whence::SeekData)? == (1 << 30) + (1 << 19));
    let mut byte = [1];
    file.read_exact_at(&mut byte, (1 << 30) + 5)?;
    ensure!(byte == [0], "the hole is not empty");
    Ok(())
}

fn removed(_: &mut Console) -> anyhow::Result<()> {
    let mut file = read_write("gone")?;
    fs::remove_file(path("gone"))?;
    file.write_all(b"still here")?;
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    ensure!(text == "still here" && file.metadata()?.nlink() == 0);
    Ok(())
}

fn run_program(_: &mut Console) -> anyhow::Result<()> {
    fs::copy("/init", path("program"))?;
    let status = std::process::Command::new(path("program"))
        .arg("nothing")
        .status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}
