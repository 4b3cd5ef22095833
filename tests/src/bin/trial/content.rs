//! One file at a time.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};
use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};

const MIB: u64 = 1 << 20;

fn new_file(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    let file = options.open(&path);
    file.with_context(|| format!("make {}", path.display()))
}

/// A hole of 1 GiB before 1 MiB of data, of which half is punched out.
pub(crate) fn sparse(folder: &Path) -> Result<()> {
    let file = new_file(folder, "sparse")?;
    let data = i64::from(1 << 30);
    file.write_all_at(&vec![7; 1 << 20], 1 << 30)?;
    file.sync_all()?;
    ensure!(file.metadata()?.blocks() < 8192, "the hole takes room");
    ensure!(lseek(&file, 0, Whence::SeekData)? == data, "SEEK_DATA");
    ensure!(
        lseek(&file, data, Whence::SeekHole)? == data + (1 << 20),
        "SEEK_HOLE"
    );
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, data, 1 << 19).context("punch a hole")?;
    ensure!(
        lseek(&file, 0, Whence::SeekData)? == data + (1 << 19),
        "the hole punched"
    );
    let mut bytes = [1; 16];
    file.read_exact_at(&mut bytes, 1 << 30)?;
    ensure!(bytes == [0; 16], "the hole is not empty");
    Ok(fs::remove_file(folder.join("sparse"))?)
}

/// Written and read on both sides of 4 GiB.
pub(crate) fn large(folder: &Path) -> Result<()> {
    let file = new_file(folder, "large")?;
    let begin = 4096 * MIB - 6;
    file.write_all_at(b"around 4 GiB", begin)?;
    file.write_all_at(b"far", 5 << 30)?;
    drop(file);
    let file = File::open(folder.join("large"))?;
    let (mut around, mut far) = ([0; 12], [0; 3]);
    file.read_exact_at(&mut around, begin)?;
    file.read_exact_at(&mut far, 5 << 30)?;
    ensure!(&around == b"around 4 GiB" && &far == b"far");
    ensure!(file.metadata()?.len() == (5 << 30) + 3);
    Ok(fs::remove_file(folder.join("large"))?)
}

pub(crate) fn attributes(folder: &Path) -> Result<()> {
    let path = folder.join("attributes");
    fs::write(&path, "x")?;
    setxattr(&path, "user.colour", b"blue", XattrFlags::CREATE).context("set an attribute")?;
    let mut value = [0; 16];
    let length = getxattr(&path, "user.colour", &mut value)?;
    ensure!(value.get(..length) == Some(&b"blue"[..]));
    let mut names = [0; 256];
    let length = listxattr(&path, &mut names)?;
    let names = names.get(..length).unwrap_or_default();
    ensure!(
        names
            .split(|byte| *byte == 0)
            .any(|name| name == b"user.colour")
    );
    removexattr(&path, "user.colour")?;
    ensure!(getxattr(&path, "user.colour", &mut value).is_err());
    Ok(fs::remove_file(path)?)
}

pub(crate) fn names(folder: &Path) -> Result<()> {
    // Two bytes a letter.
    let longest = format!("{}x", "ß".repeat(127));
    ensure!(longest.len() == 255);
    let path = folder.join(&longest);
    fs::write(&path, "x")?;
    let mut listed = fs::read_dir(folder)?.filter_map(Result::ok);
    ensure!(listed.any(|entry| entry.file_name() == longest.as_str()));
    fs::rename(&path, folder.join("y".repeat(255)))?;
    fs::remove_file(folder.join("y".repeat(255)))?;
    let error = fs::write(folder.join("y".repeat(256)), "x").err();
    let code = error.and_then(|error| error.raw_os_error());
    ensure!(code == Some(nix::libc::ENAMETOOLONG), "{code:?}");
    Ok(())
}
