//! A container's figures in the form that containerd reads: cgroup v1 or v2,
//! whichever the host has, as runc would send.

use std::path::Path;

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::MessageFull;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use protocol::agent::{ContainerStatsResponse, CpuStats, IoStats, MemoryStats};

/// The stats message of `figures`.
pub(super) fn encode(figures: &ContainerStatsResponse) -> Any {
    match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => pack(&version_2(figures)),
        false => pack(&version_1(figures)),
    }
}

/// What a host process uses: a VM seen from outside.
pub(super) fn of_process(pid: u32) -> ContainerStatsResponse {
    let mut figures = ContainerStatsResponse::default();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    figures.memory.mut_or_insert_default().usage = read("statm")
        .and_then(|text| resident(&text))
        .unwrap_or_default();
    figures.memory.mut_or_insert_default().limit = u64::MAX;
    if let Some((user, system)) = read("stat").and_then(|text| cpu_times(&text)) {
        let cpu = figures.cpu.mut_or_insert_default();
        cpu.user_usec = user;
        cpu.system_usec = system;
        cpu.usage_usec = user + system;
    }
    figures
}

/// Bytes from `/proc/<pid>/statm` (proc(5)): its second field, pages.
fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?)
}

/// User and system time in microseconds from `/proc/<pid>/stat` (proc(5)):
/// fields 14 and 15, counted after the name, which may hold anything.
fn cpu_times(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let per_second = sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    let time = |index: usize| {
        let ticks: u64 = fields.get(index)?.parse().ok()?;
        ticks.saturating_mul(1_000_000).checked_div(per_second)
    };
    Some((time(11)?, time(12)?))
}

fn sysconf(variable: nix::unistd::SysconfVar) -> Option<u64> {
    nix::unistd::sysconf(variable)
        .ok()
        .flatten()?
        .try_into()
        .ok()
}

fn pack<M: MessageFull>(message: &M) -> Any {
    Any {
        type_url: M::descriptor().full_name().to_owned(),
        value: message.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    }
}

fn stat(memory: &MemoryStats, key: &str) -> u64 {
    memory.stat.get(key).copied().unwrap_or_default()
}

fn event(memory: &MemoryStats, key: &str) -> u64 {
    memory.events.get(key).copied().unwrap_or_default()
}

fn version_2(figures: &ContainerStatsResponse) -> v2::Metrics {
    v2::Metrics {
        pids: Some(v2::PidsStat {
            current: figures.pids.current,
            limit: figures.pids.limit,
            ..Default::default()
        })
        .into(),
        cpu: Some(cpu_2(&figures.cpu)).into(),
        memory: Some(memory_2(&figures.memory)).into(),
        memory_events: Some(memory_events_2(&figures.memory)).into(),
        io: Some(v2::IOStat {
            usage: figures.io.iter().map(io_2).collect(),
            ..Default::default()
        })
        .into(),
        ..Default::default()
    }
}

fn cpu_2(cpu: &CpuStats) -> v2::CPUStat {
    v2::CPUStat {
        usage_usec: cpu.usage_usec,
        user_usec: cpu.user_usec,
        system_usec: cpu.system_usec,
        nr_periods: cpu.nr_periods,
        nr_throttled: cpu.nr_throttled,
        throttled_usec: cpu.throttled_usec,
        ..Default::default()
    }
}

fn memory_2(memory: &MemoryStats) -> v2::MemoryStat {
    let stat = |key| stat(memory, key);
    v2::MemoryStat {
        anon: stat("anon"),
        file: stat("file"),
        kernel_stack: stat("kernel_stack"),
        slab: stat("slab"),
        sock: stat("sock"),
        shmem: stat("shmem"),
        file_mapped: stat("file_mapped"),
        file_dirty: stat("file_dirty"),
        file_writeback: stat("file_writeback"),
        anon_thp: stat("anon_thp"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        slab_reclaimable: stat("slab_reclaimable"),
        slab_unreclaimable: stat("slab_unreclaimable"),
        pgfault: stat("pgfault"),
        pgmajfault: stat("pgmajfault"),
        usage: memory.usage,
        usage_limit: memory.limit,
        max_usage: memory.peak,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        ..Default::default()
    }
}

fn memory_events_2(memory: &MemoryStats) -> v2::MemoryEvents {
    v2::MemoryEvents {
        low: event(memory, "low"),
        high: event(memory, "high"),
        max: event(memory, "max"),
        oom: event(memory, "oom"),
        oom_kill: event(memory, "oom_kill"),
        oom_group_kill: event(memory, "oom_group_kill"),
        ..Default::default()
    }
}

fn io_2(io: &IoStats) -> v2::IOEntry {
    v2::IOEntry {
        major: io.major,
        minor: io.minor,
        rbytes: io.read_bytes,
        wbytes: io.write_bytes,
        rios: io.read_ops,
        wios: io.write_ops,
        ..Default::default()
    }
}

fn version_1(figures: &ContainerStatsResponse) -> v1::Metrics {
    v1::Metrics {
        pids: Some(v1::PidsStat {
            current: figures.pids.current,
            limit: figures.pids.limit,
            ..Default::default()
        })
        .into(),
        cpu: Some(cpu_1(&figures.cpu)).into(),
        memory: Some(memory_1(&figures.memory)).into(),
        memory_oom_control: Some(v1::MemoryOomControl {
            oom_kill: event(&figures.memory, "oom_kill"),
            ..Default::default()
        })
        .into(),
        blkio: Some(block_io_1(&figures.io)).into(),
        ..Default::default()
    }
}

/// cgroup v1 counts in nanoseconds.
fn cpu_1(cpu: &CpuStats) -> v1::CPUStat {
    let nanoseconds = |usec: u64| usec.saturating_mul(1000);
    v1::CPUStat {
        usage: Some(v1::CPUUsage {
            total: nanoseconds(cpu.usage_usec),
            kernel: nanoseconds(cpu.system_usec),
            user: nanoseconds(cpu.user_usec),
            ..Default::default()
        })
        .into(),
        throttling: Some(v1::Throttle {
            periods: cpu.nr_periods,
            throttled_periods: cpu.nr_throttled,
            throttled_time: nanoseconds(cpu.throttled_usec),
            ..Default::default()
        })
        .into(),
        ..Default::default()
    }
}

/// What v1 calls by other names; the `total_` fields are those that are read.
fn memory_1(memory: &MemoryStats) -> v1::MemoryStat {
    let stat = |key| stat(memory, key);
    let entry = |usage, limit, max| {
        Some(v1::MemoryEntry {
            usage,
            limit,
            max,
            ..Default::default()
        })
        .into()
    };
    v1::MemoryStat {
        cache: stat("file"),
        rss: stat("anon"),
        mapped_file: stat("file_mapped"),
        dirty: stat("file_dirty"),
        writeback: stat("file_writeback"),
        pg_fault: stat("pgfault"),
        pg_maj_fault: stat("pgmajfault"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        hierarchical_memory_limit: memory.limit,
        total_cache: stat("file"),
        total_rss: stat("anon"),
        total_mapped_file: stat("file_mapped"),
        total_dirty: stat("file_dirty"),
        total_writeback: stat("file_writeback"),
        total_pg_fault: stat("pgfault"),
        total_pg_maj_fault: stat("pgmajfault"),
        total_inactive_anon: stat("inactive_anon"),
        total_active_anon: stat("active_anon"),
        total_inactive_file: stat("inactive_file"),
        total_active_file: stat("active_file"),
        total_unevictable: stat("unevictable"),
        usage: entry(memory.usage, memory.limit, memory.peak),
        swap: entry(memory.swap_usage, memory.swap_limit, 0),
        ..Default::default()
    }
}

fn block_io_1(io: &[IoStats]) -> v1::BlkIOStat {
    let entries = |read: fn(&IoStats) -> u64, write: fn(&IoStats) -> u64| {
        let both = |io: &IoStats| {
            [
                block_entry(io, "Read", read(io)),
                block_entry(io, "Write", write(io)),
            ]
        };
        io.iter().flat_map(both).collect()
    };
    v1::BlkIOStat {
        io_service_bytes_recursive: entries(|io| io.read_bytes, |io| io.write_bytes),
        io_serviced_recursive: entries(|io| io.read_ops, |io| io.write_ops),
        ..Default::default()
    }
}

fn block_entry(io: &IoStats, op: &str, value: u64) -> v1::BlkIOEntry {
    v1::BlkIOEntry {
        op: op.to_owned(),
        major: io.major,
        minor: io.minor,
        value,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> ContainerStatsResponse {
        let mut figures = ContainerStatsResponse::default();
        figures.cpu.mut_or_insert_default().usage_usec = 1500;
        let memory = figures.memory.mut_or_insert_default();
        memory.usage = 4096;
        memory.limit = 8192;
        memory.stat.insert("inactive_file".into(), 1024);
        memory.events.insert("oom_kill".into(), 2);
        figures.io.push(IoStats {
            major: 254,
            read_bytes: 7,
            write_ops: 3,
            ..Default::default()
        });
        figures
    }

    #[test]
    fn version_1_counts_in_nanoseconds() {
        let metrics = version_1(&figures());
        assert_eq!(metrics.cpu.usage.total, 1_500_000);
        assert_eq!(metrics.memory.usage.limit, 8192);
        assert_eq!(metrics.memory.total_inactive_file, 1024);
        assert_eq!(metrics.memory_oom_control.oom_kill, 2);
        assert_eq!(metrics.blkio.io_service_bytes_recursive[0].value, 7);
        assert_eq!(metrics.blkio.io_serviced_recursive[1].value, 3);
    }

    #[test]
    fn version_2_counts_in_microseconds() {
        let metrics = version_2(&figures());
        assert_eq!(metrics.cpu.usage_usec, 1500);
        assert_eq!(
            (metrics.memory.usage, metrics.memory.inactive_file),
            (4096, 1024)
        );
        assert_eq!(metrics.io.usage[0].rbytes, 7);
    }

    #[test]
    fn a_process_is_measured() {
        let figures = of_process(std::process::id());
        assert!(figures.memory.usage > 100_000);
        assert_eq!(
            cpu_times("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 200 0"),
            Some((1_000_000, 2_000_000))
        );
    }
}
