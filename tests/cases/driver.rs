//! Who runs the VM: what `driver` of the configuration chooses, and what is told
//! where that is not there.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::errors::refused_pod;
use crate::bed::Bed;
use crate::harness::cases;
use crate::pod::{ContainerSpec, pod};

cases![
    vm: auto_takes_what_the_host_has, built_in_without_kvm;
    qemu: qemu_is_missing;
    built_in: qemu_can_be_forced, vmm_is_missing
];

async fn auto_takes_what_the_host_has(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("driver", "auto")?;
    let pod = pod("auto").run(bed).await?;
    let driver = pod.record()?.driver;
    match probe::kvm() {
        Ok(_) => assert_eq!(driver, "built-in"),
        Err(_) => assert!(driver.starts_with("qemu ("), "{driver}"),
    }
    let container = ContainerSpec::idle("main").start(&pod).await?;
    container.ask(&["true"]).await?;
    pod.remove().await
}

async fn qemu_can_be_forced(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("driver", "qemu")?;
    let pod = pod("forced").run(bed).await?;
    assert_eq!(pod.record()?.driver, "qemu (kvm)");
    pod.remove().await
}

/// It is not the installation that decides, but what is there at a pod's start.
async fn built_in_without_kvm(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("driver", "built-in")?;
    let _hidden = HiddenKvm::hide()?;
    let words = ["built-in", "/dev/kvm", "driver = \"qemu\""];
    refused_pod(bed, "built-in driver without KVM", pod("pod"), &words).await
}

/// `/dev/kvm` is something else as long as this lives.
struct HiddenKvm(bool);

impl HiddenKvm {
    const PATH: &str = "/dev/kvm";

    fn hide() -> Result<Self> {
        let there = Path::new(Self::PATH).exists();
        if there {
            let (null, none) = (Some("/dev/null"), None::<&str>);
            mount(null, Self::PATH, none, MsFlags::MS_BIND, none).context("hide /dev/kvm")?;
        }
        Ok(Self(there))
    }
}

impl Drop for HiddenKvm {
    fn drop(&mut self) {
        if self.0 {
            // What stays is found as left behind.
            let _ = umount2(Self::PATH, MntFlags::empty());
        }
    }
}

async fn qemu_is_missing(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("qemu.path", "/no/such/qemu")?;
    refused_pod(bed, "no QEMU", pod("pod"), &["/no/such/qemu", "qemu.path"]).await
}

async fn vmm_is_missing(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("built_in.path", "/no/such/vmm")?;
    let words = ["/no/such/vmm", "built_in.path"];
    refused_pod(bed, "no VMM", pod("pod"), &words).await
}
