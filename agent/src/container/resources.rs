//! Resource limits, written for the host, made fit for the guest: what names a
//! thing of the host that the guest does not have is left out.

use std::collections::BTreeSet;
use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxResources, LinuxThrottleDevice};

use super::cpuset;

/// The file of a cgroup's share of the disks.
const IO_WEIGHT: &str = "io.weight";

/// What the guest has, as far as limits depend on it.
#[derive(Debug, Default)]
pub(crate) struct Present {
    cpus: Numbers,
    mems: Numbers,
}

/// Lists of CPUs, or of memory nodes.
#[derive(Debug, Default)]
struct Numbers {
    present: String,
    /// With those that may come while the guest runs.
    possible: String,
}

impl Present {
    /// Reads it from the root cgroup.
    pub(crate) fn read() -> Self {
        Self {
            cpus: Numbers::read("cpuset.cpus.effective", "cpu"),
            mems: Numbers::read("cpuset.mems.effective", "node"),
        }
    }

    /// The numbers of `list`, if they are the guest's.
    pub(crate) fn processors(&self, list: &str) -> Option<BTreeSet<usize>> {
        cpuset::within(list, &self.cpus.present)
    }
}

impl Numbers {
    fn read(file: &str, folder: &str) -> Self {
        let present = std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(file));
        let present = present.unwrap_or_default();
        let folder = Path::new("/sys/devices/system").join(folder);
        // A kernel for one memory node has no folder of nodes.
        let possible = std::fs::read_to_string(folder.join("possible"));
        Self {
            possible: possible.unwrap_or_else(|_| present.clone()),
            present,
        }
    }

    /// What is to be written to the cgroup's `file` for `wanted`, if anything:
    /// all that can be there in place of a list of another machine's.
    fn fitting(&self, wanted: Option<&str>, file: &Path) -> Option<String> {
        let wanted = wanted.filter(|list| !list.trim().is_empty())?;
        if cpuset::within(wanted, &self.present).is_some() {
            return Some(wanted.to_owned());
        }
        // Empty means all, but the kernel refuses to empty what is in use.
        let now = std::fs::read_to_string(file);
        let set = now.is_ok_and(|list| !list.trim().is_empty());
        set.then(|| self.possible.trim().to_owned())
    }
}

/// Leaves in `resources` what can be applied to `cgroup`.
pub(crate) fn adapt(resources: &mut LinuxResources, cgroup: &Path, present: &Present) {
    if let Some(cpu) = resources.cpu_mut() {
        adapt_cpu(cpu, cgroup, present);
    }
    let weight = resources.block_io_mut().as_mut().and_then(adapt_io);
    if let Some(weight) = weight.filter(|_| cgroup.join(IO_WEIGHT).exists()) {
        let unified = resources.unified_mut().get_or_insert_default();
        unified.entry(IO_WEIGHT.to_owned()).or_insert(weight);
    }
    if let Some(limits) = resources.hugepage_limits_mut() {
        limits.retain(|limit| {
            cgroup
                .join(format!("hugetlb.{}.max", limit.page_size()))
                .exists()
        });
    }
    if let Some(files) = resources.unified_mut() {
        files.retain(|name, _| !name.starts_with("hugetlb.") || cgroup.join(name).exists());
    }
    // Of net_cls, net_prio and rdma there is nothing in a guest.
    resources.set_network(None).set_rdma(None);
}

fn adapt_cpu(cpu: &mut LinuxCpu, cgroup: &Path, present: &Present) {
    let cpus = cpu.cpus().as_deref();
    let cpus = present.cpus.fitting(cpus, &cgroup.join("cpuset.cpus"));
    let mems = cpu.mems().as_deref();
    let mems = present.mems.fitting(mems, &cgroup.join("cpuset.mems"));
    // Realtime budgets exist in cgroup v1 alone.
    cpu.set_cpus(cpus)
        .set_mems(mems)
        .set_realtime_period(None)
        .set_realtime_runtime(None);
}

/// The weight is taken out, as the value of [`IO_WEIGHT`]: libcgroups 0.7
/// computes that in 16 bits, which overflow.
fn adapt_io(io: &mut LinuxBlockIo) -> Option<String> {
    let weight = io.weight().filter(|weight| *weight > 0).map(io_weight);
    io.set_weight(None)
        .set_leaf_weight(None)
        .set_weight_device(None);
    let keep = |devices: &Option<Vec<LinuxThrottleDevice>>| {
        let devices = devices.iter().flatten().filter(|device| has_device(device));
        Some(devices.cloned().collect())
    };
    let read_bps = keep(io.throttle_read_bps_device());
    let write_bps = keep(io.throttle_write_bps_device());
    let read_iops = keep(io.throttle_read_iops_device());
    let write_iops = keep(io.throttle_write_iops_device());
    io.set_throttle_read_bps_device(read_bps)
        .set_throttle_write_bps_device(write_bps)
        .set_throttle_read_iops_device(read_iops)
        .set_throttle_write_iops_device(write_iops);
    weight
}

/// 10..=1000 of the specification to 1..=10000 of cgroup v2, as runc does it.
fn io_weight(weight: u16) -> String {
    let above = u32::from(weight.clamp(10, 1000)) - 10;
    (1 + above * 9999 / 990).to_string()
}

fn has_device(device: &LinuxThrottleDevice) -> bool {
    let number = format!("{}:{}", device.major(), device.minor());
    Path::new("/sys/dev/block").join(number).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(json: &str) -> LinuxResources {
        adapted_in(Path::new("/nosuch"), json)
    }

    fn adapted_in(cgroup: &Path, json: &str) -> LinuxResources {
        let mut resources: LinuxResources = serde_json::from_str(json).unwrap();
        let numbers = |present: &str, possible: &str| Numbers {
            present: present.to_owned(),
            possible: possible.to_owned(),
        };
        let present = Present {
            cpus: numbers("0-2\n", "0-7\n"),
            mems: numbers("0\n", "0\n"),
        };
        adapt(&mut resources, cgroup, &present);
        resources
    }

    fn sets(resources: &LinuxResources) -> (Option<&str>, Option<&str>) {
        let cpu = resources.cpu().as_ref().unwrap();
        (cpu.cpus().as_deref(), cpu.mems().as_deref())
    }

    #[test]
    fn cpus_of_the_host_do_not_fail_the_container() {
        let resources = adapted(
            r#"{"cpu": {"cpus": "8-15", "mems": "0-1", "quota": 50000,
                "realtimePeriod": 1000000, "realtimeRuntime": 950000}}"#,
        );
        assert_eq!(sets(&resources), (None, None));
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.quota(), cpu.realtime_period()), (Some(50000), None));
    }

    #[test]
    fn cpus_of_which_the_guest_has_a_part_are_not_its_own() {
        let resources = adapted(r#"{"cpu": {"cpus": "2-3", "mems": "0"}}"#);
        assert_eq!(sets(&resources), (None, Some("0")));
        let resources = adapted(r#"{"cpu": {"cpus": "1-2", "mems": ""}}"#);
        assert_eq!(sets(&resources), (Some("1-2"), None));
    }

    #[test]
    fn cpus_of_the_host_take_the_place_of_the_guests() {
        let cgroup = tempfile::tempdir().unwrap();
        std::fs::write(cgroup.path().join("cpuset.cpus"), "1\n").unwrap();
        std::fs::write(cgroup.path().join("cpuset.mems"), "\n").unwrap();
        let of_the_host = r#"{"cpu": {"cpus": "8-9", "mems": "1"}}"#;
        let resources = adapted_in(cgroup.path(), of_the_host);
        assert_eq!(sets(&resources), (Some("0-7"), None));
        let unchanged = adapted_in(cgroup.path(), r#"{"cpu": {"quota": 50000}}"#);
        assert_eq!(sets(&unchanged), (None, None));
    }

    #[test]
    fn weights_fill_the_whole_range() {
        let weights = [10, 500, 1000, u16::MAX].map(io_weight);
        assert_eq!(weights, ["1", "4950", "10000", "10000"]);
    }

    #[test]
    fn devices_and_pages_that_the_guest_lacks_are_left_out() {
        let resources = adapted(
            r#"{"hugepageLimits": [{"pageSize": "1GB", "limit": 0}],
                "unified": {"hugetlb.1GB.max": "0", "memory.high": "1000"},
                "blockIO": {"weight": 100, "throttleReadBpsDevice":
                    [{"major": 254, "minor": 99, "rate": 1000}]}}"#,
        );
        assert!(resources.hugepage_limits().as_ref().unwrap().is_empty());
        let unified: Vec<_> = resources.unified().as_ref().unwrap().keys().collect();
        assert_eq!(unified, ["memory.high"]);
        let io = resources.block_io().as_ref().unwrap();
        assert_eq!(io.weight(), None);
        assert!(
            !resources
                .unified()
                .as_ref()
                .unwrap()
                .contains_key(IO_WEIGHT)
        );
        assert!(io.throttle_read_bps_device().as_ref().unwrap().is_empty());
    }
}
