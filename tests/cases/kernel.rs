//! The point of it all: a pod has a kernel of its own.

use std::fs;

use anyhow::{Context, Result};

use crate::bed::{Bed, Handler};
use crate::ctr::Ended;
use crate::harness::cases;
use crate::pod::{ContainerSpec, pod};
use crate::task;

const RELEASE: &str = "/proc/sys/kernel/osrelease";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

cases![
    any: runc_has_the_hosts;
    vm: pod_has_another,
    two_pods_have_two,
    lone_container_has_another
];

fn of_host(file: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    Ok(text.trim_end().to_owned())
}

/// The other way round, to see that the cases below can fail.
async fn runc_has_the_hosts(bed: &Bed) -> Result<()> {
    let pod = pod("host").handler(Handler::Runc).run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    for file in [RELEASE, BOOT_ID] {
        assert_eq!(container.ask(&["cat", file]).await?, of_host(file)?);
    }
    pod.remove().await
}

async fn pod_has_another(bed: &Bed) -> Result<()> {
    let pod = pod("own").run(bed).await?;
    let container = ContainerSpec::idle("main").start(&pod).await?;
    for file in [RELEASE, BOOT_ID] {
        assert_ne!(container.ask(&["cat", file]).await?, of_host(file)?);
    }
    let release = container.ask(&["uname", "-r"]).await?;
    assert!(
        release.contains("kata-mshv"),
        "{release} does not tell whose it is"
    );
    pod.remove().await
}

async fn two_pods_have_two(bed: &Bed) -> Result<()> {
    let mut boots = Vec::new();
    for name in ["first", "second"] {
        let pod = pod(name).run(bed).await?;
        let container = ContainerSpec::idle("main").start(&pod).await?;
        boots.push((container.ask(&["cat", BOOT_ID]).await?, pod));
    }
    assert_ne!(boots[0].0, boots[1].0);
    for (_, pod) in boots {
        pod.remove().await?;
    }
    Ok(())
}

async fn lone_container_has_another(bed: &Bed) -> Result<()> {
    let ended = Ended::of(task::run(bed, &["--rm"], "kernel", &["cat", BOOT_ID])).await?;
    assert_ne!(ended.success()?.stdout.trim_end(), of_host(BOOT_ID)?);
    Ok(())
}
