//! What the processes of a pod may do on the host.

use std::fs;

use anyhow::{Context, Result};

use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::pod;

cases![vm: vmm_and_devices_have_no_more_than_they_need];

async fn vmm_and_devices_have_no_more_than_they_need(bed: &Bed) -> Result<()> {
    let pod = pod("jailed").run(bed).await?;
    let pids = pod.record()?.pids;
    for (name, pid) in [("vmm", pids.vmm), ("fs", pids.fs), ("vsock", pids.vsock)] {
        assert_eq!(status(pid, "NoNewPrivs")?, "1", "{name}");
        let environment = fs::read(format!("/proc/{pid}/environ"));
        let environment = environment.with_context(|| format!("read {name}'s environment"))?;
        assert_eq!(String::from_utf8_lossy(&environment), "", "{name}");
    }
    for (name, pid) in [("vmm", pids.vmm), ("vsock", pids.vsock)] {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(status(pid, set)?, "0000000000000000", "{set} of {name}");
        }
    }
    for namespace in ["net", "ipc", "uts"] {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        assert_ne!(of(pids.vmm)?, of(pids.shim)?, "{namespace}");
    }
    pod.remove().await
}

/// A line of `/proc/<pid>/status`.
fn status(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.map(str::to_owned)
        .with_context(|| format!("{path} has no {name}"))
}
