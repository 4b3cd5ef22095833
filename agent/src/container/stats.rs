//! The container's use of resources, read from its cgroup's files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use protobuf::MessageField;
use protocol::agent::{ContainerStatsResponse, CpuStats, IoStats, MemoryStats, PidsStats};

use super::CgroupError;

/// Reads the figures of `cgroup`.
pub(crate) fn read(cgroup: &Path) -> Result<ContainerStatsResponse, CgroupError> {
    let files = Files(cgroup);
    Ok(ContainerStatsResponse {
        cpu: MessageField::some(cpu(&files)?),
        memory: MessageField::some(memory(&files)?),
        pids: MessageField::some(pids(&files)?),
        io: io_stats(&files.text("io.stat")?),
        ..Default::default()
    })
}

fn cpu(files: &Files<'_>) -> Result<CpuStats, CgroupError> {
    let stat = table(&files.text("cpu.stat")?);
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    Ok(CpuStats {
        usage_usec: get("usage_usec"),
        user_usec: get("user_usec"),
        system_usec: get("system_usec"),
        nr_periods: get("nr_periods"),
        nr_throttled: get("nr_throttled"),
        throttled_usec: get("throttled_usec"),
        ..Default::default()
    })
}

/// The parts are read before the whole. A container that grows meanwhile (its
/// program is just being loaded) must not seem to have more inactive pages than
/// pages: what clients compute as its working set would be nothing.
fn memory(files: &Files<'_>) -> Result<MemoryStats, CgroupError> {
    let stat = table(&files.text("memory.stat")?);
    Ok(MemoryStats {
        usage: number(&files.text("memory.current")?),
        limit: number(&files.text("memory.max")?),
        peak: number(&files.text("memory.peak")?),
        swap_usage: number(&files.text("memory.swap.current")?),
        swap_limit: number(&files.text("memory.swap.max")?),
        stat,
        events: table(&files.text("memory.events")?),
        ..Default::default()
    })
}

fn pids(files: &Files<'_>) -> Result<PidsStats, CgroupError> {
    let limit = files.text("pids.max")?;
    Ok(PidsStats {
        current: number(&files.text("pids.current")?),
        limit: if limit.trim() == "max" {
            0
        } else {
            number(&limit)
        },
        ..Default::default()
    })
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    /// The text of a file; nothing when the controller does not have it.
    fn text(&self, name: &str) -> Result<String, CgroupError> {
        let path: PathBuf = self.0.join(name);
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.0.exists() => {
                Ok(String::new())
            }
            result => result.map_err(|source| CgroupError::File {
                action: "read",
                path,
                source,
            }),
        }
    }
}

/// A file with one number; `max` is the largest there is.
fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// Lines of `key number`.
fn table(text: &str) -> HashMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Lines of `major:minor key=number key=number ...`.
fn io_stats(text: &str) -> Vec<IoStats> {
    text.lines().filter_map(io_device).collect()
}

fn io_device(line: &str) -> Option<IoStats> {
    let mut words = line.split(' ');
    let (major, minor) = words.next()?.split_once(':')?;
    let mut stats = IoStats {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        ..Default::default()
    };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let value = value.parse().unwrap_or(0);
        match key {
            "rbytes" => stats.read_bytes = value,
            "wbytes" => stats.write_bytes = value,
            "rios" => stats.read_ops = value,
            "wios" => stats.write_ops = value,
            _ => {}
        }
    }
    Some(stats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_kernels_own() {
        let cgroup = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "cpu.stat",
                "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_throttled 2\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 12\nfile 34\n"),
            ("memory.events", "oom 1\noom_kill 1\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            (
                "io.stat",
                "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
            ),
        ] {
            std::fs::write(cgroup.path().join(name), text).unwrap();
        }
        let stats = read(cgroup.path()).unwrap();
        assert_eq!((stats.cpu.usage_usec, stats.cpu.nr_throttled), (300, 2));
        assert_eq!((stats.memory.usage, stats.memory.limit), (4096, u64::MAX));
        assert_eq!(stats.memory.stat.get("file"), Some(&34));
        assert_eq!(stats.memory.events.get("oom_kill"), Some(&1));
        assert_eq!((stats.pids.current, stats.pids.limit), (3, 0));
        let io = &stats.io[0];
        assert_eq!((io.major, io.read_bytes, io.write_ops), (254, 10, 2));
    }

    /// The kernel answers the read of `memory.stat` once the container has grown.
    #[test]
    fn a_container_that_grows_meanwhile_is_larger_than_its_parts() {
        let cgroup = tempfile::tempdir().unwrap();
        let (stat, current) = (
            cgroup.path().join("memory.stat"),
            cgroup.path().join("memory.current"),
        );
        std::fs::write(&current, "4096\n").unwrap();
        let owner = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &stat, rustix::fs::FileType::Fifo, owner, 0).unwrap();
        let kernel = std::thread::spawn(move || {
            let mut stat = std::fs::File::create(stat).unwrap();
            std::fs::write(current, "40960\n").unwrap();
            std::io::Write::write_all(&mut stat, b"inactive_file 36864\n").unwrap();
        });
        let stats = read(cgroup.path()).unwrap();
        kernel.join().unwrap();
        let memory = &stats.memory;
        assert_eq!((memory.usage, memory.stat["inactive_file"]), (40960, 36864));
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error() {
        assert!(read(Path::new("/nosuch")).is_err());
    }
}
