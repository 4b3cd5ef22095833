//! Making the bed's namespaces what they were before containerd: for a case
//! that failed half-way, so that the next one starts in a clean bed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const KILL: Duration = Duration::from_secs(5);

/// What there was at the start. Dropped, all else is killed, unmounted, removed.
pub(super) struct Sweep {
    folder: PathBuf,
    processes: HashSet<i32>,
    mounts: HashSet<String>,
    cgroups: HashSet<PathBuf>,
}

impl Sweep {
    pub(super) fn from_now(folder: &Path) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            processes: processes().context("list the bed's processes")?,
            mounts: mounts()?.into_iter().collect(),
            cgroups: cgroups(Path::new(CGROUPS)).into_iter().collect(),
        })
    }

    fn kill_all(&self) {
        let deadline = Instant::now() + KILL;
        loop {
            let Ok(now) = processes() else { return };
            let left: Vec<_> = now.difference(&self.processes).collect();
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn unmount_all(&self) {
        // Last mounted, first unmounted.
        for point in mounts().unwrap_or_default().iter().rev() {
            if !self.mounts.contains(point) {
                let _ = umount2(Path::new(point), MntFlags::MNT_DETACH);
            }
        }
    }

    fn remove_cgroups(&self) {
        for group in cgroups(Path::new(CGROUPS)) {
            if !self.cgroups.contains(&group) {
                let _ = fs::remove_dir(group);
            }
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.kill_all();
        self.unmount_all();
        self.remove_cgroups();
        // The whole of /run is the bed's own file system.
        for folder in [
            self.folder.as_path(),
            Path::new("/run"),
            Path::new("/dev/shm"),
        ] {
            empty(folder);
        }
    }
}

const CGROUPS: &str = "/sys/fs/cgroup";

/// Processes of the bed's PID namespace, which is what `/proc` shows, without
/// the calling one.
fn processes() -> Result<HashSet<i32>> {
    let own = i32::try_from(process::id()).context("a pid is an i32")?;
    let entries = fs::read_dir("/proc").context("list processes")?;
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries
        .flatten()
        .filter_map(pid)
        .filter(|pid| *pid != own)
        .collect())
}

fn mounts() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("list the bed's mounts")?;
    let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    Ok(table.lines().filter_map(point).collect())
}

/// Groups below `folder`, the deepest first.
fn cgroups(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(cgroups(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let _ = if is_folder {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
    }
}
