//! Resource limits, written for the host, made fit for the guest: what names a
//! thing of the host that the guest does not have is left out.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxResources, LinuxThrottleDevice};

use super::cpuset;

/// The file of a cgroup's share of the disks.
const IO_WEIGHT: &str = "io.weight";

/// What the guest has, as far as limits depend on it.
#[derive(Debug, Default)]
pub(crate) struct Present {
    cpus: String,
    mems: String,
}

impl Present {
    /// Reads it from the root cgroup.
    pub(crate) fn read() -> Self {
        let read = |name| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(name));
        Self {
            cpus: read("cpuset.cpus.effective").unwrap_or_default(),
            mems: read("cpuset.mems.effective").unwrap_or_default(),
        }
    }
}

/// Leaves in `resources` what can be applied to `cgroup`.
pub(crate) fn adapt(resources: &mut LinuxResources, cgroup: &Path, present: &Present) {
    if let Some(cpu) = resources.cpu_mut() {
        adapt_cpu(cpu, present);
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

fn adapt_cpu(cpu: &mut LinuxCpu, present: &Present) {
    let restrict = |list: &Option<String>, present: &str| {
        list.as_deref()
            .and_then(|list| cpuset::restrict(list, present))
    };
    let cpus = restrict(cpu.cpus(), &present.cpus);
    let mems = restrict(cpu.mems(), &present.mems);
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
        let mut resources: LinuxResources = serde_json::from_str(json).unwrap();
        let present = Present {
            cpus: "0-1".into(),
            mems: "0".into(),
        };
        adapt(&mut resources, Path::new("/nosuch"), &present);
        resources
    }

    #[test]
    fn cpus_of_the_host_do_not_fail_the_container() {
        let resources = adapted(
            r#"{"cpu": {"cpus": "8-15", "mems": "0-1", "quota": 50000,
                "realtimePeriod": 1000000, "realtimeRuntime": 950000}}"#,
        );
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.cpus(), cpu.mems().as_deref()), (&None, Some("0")));
        assert_eq!((cpu.quota(), cpu.realtime_period()), (Some(50000), None));
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
