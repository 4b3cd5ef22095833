//! Two pods side by side.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::operator::Operator;

/// What a pod sees of the machine that it runs on.
pub(crate) struct Sight {
    pod: &'static str,
    runtime: &'static str,
    kernel: String,
    cpus: String,
    memory_mib: u64,
    boot_id: String,
    ready: Duration,
}

impl Sight {
    /// Asks the running `pod`, which was ready after `ready`.
    pub(crate) async fn ask(
        operator: &Operator<'_>,
        pod: &'static str,
        runtime: &'static str,
        ready: Duration,
    ) -> Result<Self> {
        let memory = operator.exec(pod, "grep MemTotal /proc/meminfo").await?;
        let kib = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok());
        Ok(Self {
            pod,
            runtime,
            kernel: operator.exec(pod, "uname -r").await?,
            cpus: operator.exec(pod, "nproc").await?,
            memory_mib: kib.with_context(|| format!("{memory:?} is no size"))? / 1024,
            boot_id: operator
                .exec(pod, "cat /proc/sys/kernel/random/boot_id")
                .await?,
            ready,
        })
    }
}

/// The table of the demonstration.
pub(crate) struct Comparison(pub(crate) [Sight; 2]);

impl Comparison {
    /// That the second pod has a kernel of its own is the point of it all.
    pub(crate) fn check(&self) -> Result<()> {
        let [trusted, untrusted] = &self.0;
        let same = |what: &str, value: &str| {
            format!(
                "BOTH PODS HAVE THE SAME {what}, {value}: pod {} is not in a virtual machine",
                untrusted.pod
            )
        };
        let differ = trusted.kernel != untrusted.kernel;
        ensure!(differ, same("KERNEL", &untrusted.kernel));
        let differ = trusted.boot_id != untrusted.boot_id;
        ensure!(differ, same("BOOT OF A KERNEL", &untrusted.boot_id));
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Cell = fn(&Sight) -> String;
        let rows: [(&str, Cell); 7] = [
            ("pod", |sight| sight.pod.to_owned()),
            ("runtime", |sight| sight.runtime.to_owned()),
            ("kernel", |sight| sight.kernel.clone()),
            ("boot", |sight| sight.boot_id.chars().take(8).collect()),
            ("vCPUs", |sight| sight.cpus.clone()),
            ("memory", |sight| format!("{} MiB", sight.memory_mib)),
            ("time to ready", |sight| {
                format!("{:.2} s", sight.ready.as_secs_f64())
            }),
        ];
        for (name, cell) in rows {
            let [left, right] = &self.0;
            writeln!(f, "  {name:<15} {:<26} {}", cell(left), cell(right))?;
        }
        Ok(())
    }
}
