//! Directory entries: names, links, renames, long directories.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::console::Console;
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("rename", rename),
    ("hard links", hard_links),
    ("symbolic links", symbolic_links),
    ("names of 255 bytes and of any byte", names),
    ("a directory of 10,000 files", long_directory),
];

fn fresh(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(SHARE).join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

fn rename(_: &mut Console) -> anyhow::Result<()> {
    let dir = fresh("rename")?;
    let (a, b, sub) = (dir.join("a"), dir.join("b"), dir.join("sub"));
    fs::create_dir(&sub)?;
    fs::write(&a, "a")?;
    fs::write(&b, "b")?;
    let with = |flags| renameat2(AT_FDCWD, &a, AT_FDCWD, &b, flags);
    ensure!(with(RenameFlags::RENAME_NOREPLACE) == Err(Errno::EEXIST));
    with(RenameFlags::RENAME_EXCHANGE)?;
    ensure!(fs::read(&a)? == b"b");
    fs::rename(&a, &b)?;
    ensure!(fs::read(&b)? == b"b" && !a.exists());
    fs::rename(&b, sub.join("c"))?;
    fs::rename(&sub, dir.join("moved"))?;
    ensure!(fs::read(dir.join("moved/c"))? == b"b");
    Ok(())
}

fn hard_links(_: &mut Console) -> anyhow::Result<()> {
    let dir = fresh("hard")?;
    let (a, b) = (dir.join("a"), dir.join("b"));
    fs::write(&a, "one")?;
    fs::hard_link(&a, &b)?;
    fs::write(&b, "two")?;
    ensure!(fs::read(&a)? == b"two");
    let (ma, mb) = (a.metadata()?, b.metadata()?);
    ensure!(ma.ino() == mb.ino() && ma.nlink() == 2);
    fs::remove_file(&a)?;
    ensure!(b.metadata()?.nlink() == 1);
    Ok(())
}

fn symbolic_links(_: &mut Console) -> anyhow::Result<()> {
    let dir = fresh("symbolic")?;
    fs::write(dir.join("target"), "t")?;
    symlink("target", dir.join("near"))?;
    symlink("/nowhere/at/all", dir.join("dangling"))?;
    ensure!(fs::read(dir.join("near"))? == b"t");
    ensure!(fs::read_link(dir.join("dangling"))? == Path::new("/nowhere/at/all"));
    ensure!(!dir.join("dangling").exists());
    Ok(())
}

fn names(_: &mut Console) -> anyhow::Result<()> {
    let dir = fresh("names")?;
    let longest = dir.join("n".repeat(255));
    fs::write(&longest, "l")?;
    ensure!(fs::read(&longest)? == b"l");
    let error = fs::write(dir.join("n".repeat(256)), "").map_err(|e| e.raw_os_error());
    ensure!(error == Err(Some(libc::ENAMETOOLONG)));
    let every: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    fs::write(dir.join(OsStr::from_bytes(&every)), "e")?;
    let found: HashSet<_> = fs::read_dir(&dir)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(found.contains(OsStr::from_bytes(&every)) && found.len() == 2);
    Ok(())
}

/// The host makes the files: under emulation the guest would take a minute.
fn long_directory(console: &mut Console) -> anyhow::Result<()> {
    console.ask("populate long 10000")?;
    let dir = Path::new(SHARE).join("long");
    let found: HashSet<_> = fs::read_dir(&dir)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(found.len() == 10_000, "{} entries", found.len());
    ensure!(found.contains(OsStr::new("9999")));
    Ok(())
}
