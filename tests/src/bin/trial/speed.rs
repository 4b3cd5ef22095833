//! How fast files are. Each figure is a line `name value unit`.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};

/// MiB of the file, and of the device, that is worked on.
const LENGTH: u64 = 128;
const BLOCK: usize = 4096;
/// Accesses of one block; fewer where each is written out.
const ACCESSES: u32 = 4000;
const SYNCED: u32 = 400;

/// As a source tree is: 40 folders of 50 files of 0.5 to 16 KiB.
const FOLDERS: u32 = 40;
const FILES: u32 = 50;

/// A block at the beginning of a page, as O_DIRECT wants it.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

pub(crate) fn of_folder(folder: &Path) -> Result<()> {
    let path = folder.join("file");
    File::create(&path).with_context(|| format!("make {}", path.display()))?;
    sequential(&path)?;
    random(&path)?;
    fs::remove_file(&path)?;
    tree(&folder.join("tree"))
}

pub(crate) fn of_device(device: &Path) -> Result<()> {
    sequential(device)?;
    random(device)
}

fn say(name: &str, began: Instant, amount: f64, unit: &str) {
    println!(
        "{name} {:.1} {unit}",
        amount / began.elapsed().as_secs_f64()
    );
}

fn sequential(path: &Path) -> Result<()> {
    let bytes = vec![7; 1 << 20];
    let began = Instant::now();
    let mut file = OpenOptions::new().write(true).open(path)?;
    for _ in 0..LENGTH {
        file.write_all(&bytes)?;
    }
    file.sync_all()?;
    say("write-sequential", began, LENGTH as f64, "MiB/s");
    let (mut file, mut bytes) = (File::open(path)?, bytes);
    let began = Instant::now();
    for _ in 0..LENGTH {
        file.read_exact(&mut bytes)?;
    }
    say("read-sequential", began, LENGTH as f64, "MiB/s");
    Ok(())
}

fn random(path: &Path) -> Result<()> {
    let open = |flags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        options.open(path)
    };
    for (suffix, flags) in [("", 0), ("-direct", nix::libc::O_DIRECT)] {
        let file = open(flags)?;
        let mut block = Box::new(Block([9; BLOCK]));
        let began = Instant::now();
        for at in offsets(ACCESSES) {
            file.read_exact_at(&mut block.0, at)?;
        }
        say(&format!("read-4k{suffix}"), began, ACCESSES.into(), "/s");
        let began = Instant::now();
        for at in offsets(ACCESSES) {
            file.write_all_at(&block.0, at)?;
        }
        say(&format!("write-4k{suffix}"), began, ACCESSES.into(), "/s");
    }
    let (file, block) = (open(0)?, Block([5; BLOCK]));
    let began = Instant::now();
    for at in offsets(SYNCED) {
        file.write_all_at(&block.0, at)?;
        file.sync_data()?;
    }
    say("write-4k-synced", began, SYNCED.into(), "/s");
    Ok(())
}

/// Blocks in an order that looks random, and is the same each time
/// (Knuth, The Art of Computer Programming, volume 2, 3.3.4, line 26).
fn offsets(count: u32) -> impl Iterator<Item = u64> {
    let blocks = (LENGTH << 20) / BLOCK as u64;
    let next = |state: &u64| {
        let next = state.wrapping_mul(6_364_136_223_846_793_005);
        Some(next.wrapping_add(1_442_695_040_888_963_407))
    };
    std::iter::successors(Some(1), next)
        .map(move |state| (state >> 33) % blocks * BLOCK as u64)
        .take(count as usize)
}

type Step = fn(&Path) -> Result<()>;

fn tree(root: &Path) -> Result<()> {
    let count = f64::from(FOLDERS * FILES);
    let steps: [(&str, Step); 5] = [
        ("untar", unpack),
        ("walk", walk),
        ("walk-again", walk),
        ("read-all", read_all),
        ("remove-all", |root| Ok(fs::remove_dir_all(root)?)),
    ];
    for (name, step) in steps {
        let began = Instant::now();
        step(root).with_context(|| format!("{name} in {}", root.display()))?;
        say(name, began, count, "files/s");
    }
    Ok(())
}

/// What tar(1) does for each file of an archive.
fn unpack(root: &Path) -> Result<()> {
    let bytes = vec![b'x'; 16 << 10];
    for folder in 0..FOLDERS {
        let folder = root.join(format!("folder-{folder}"));
        fs::create_dir_all(&folder)?;
        for number in 0..FILES {
            let length = 512 << (number % 6);
            let mut file = File::create_new(folder.join(format!("file-{number}")))?;
            file.write_all(bytes.get(..length).unwrap_or(&bytes))?;
            file.set_permissions(Permissions::from_mode(0o640))?;
            file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))?;
        }
    }
    Ok(())
}

/// What `git status` does: lists every folder, asks for every file.
fn walk(root: &Path) -> Result<()> {
    let found = files(root)?;
    for file in &found {
        fs::symlink_metadata(file)?;
    }
    ensure!(found.len() == (FOLDERS * FILES) as usize);
    Ok(())
}

fn read_all(root: &Path) -> Result<()> {
    for file in files(root)? {
        ensure!(!fs::read(file)?.is_empty());
    }
    Ok(())
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root)? {
        for entry in fs::read_dir(folder?.path())? {
            found.push(entry?.path());
        }
    }
    Ok(found)
}
