//! What goes wrong: told soon, in words that help, and with nothing left.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bed::Bed;
use crate::harness::{cases, figure, patient};
use crate::images::{NOT_EXECUTABLE, ODD};
use crate::initramfs;
use crate::pod::{ContainerSpec, PodSpec, container, pod, remove_failed};

cases![
    any: command_is_missing,
    command_is_not_executable,
    working_directory_is_a_file;
    vm: kernel_is_missing,
    kernel_is_cut_short,
    kernel_is_something_else,
    kernel_is_damaged_inside,
    agent_of_another_version,
    unknown_key,
    annotation_out_of_range,
    annotation_is_no_number,
    vm_dies_while_booting,
    host_network
];

/// The promise is 3 s on an idle machine, and is printed; a busy one gets more.
const SOON: Duration = Duration::from_secs(10);

/// Checks that an error came soon and says all of `words`.
fn check(what: &str, begin: Instant, error: &impl Display, words: &[&str]) {
    let took = begin.elapsed();
    let text = format!("{error:#}");
    figure(format!("error: {what}"), format!("{took:.2?}"));
    assert!(took < patient(SOON), "it took {took:?} to say: {text}");
    for word in words {
        let found = text.to_lowercase().contains(&word.to_lowercase());
        assert!(found, "{word:?} is not in: {text}");
    }
}

/// A pod that must not start.
pub(super) async fn refused_pod(
    bed: &Bed,
    what: &str,
    spec: PodSpec,
    words: &[&str],
) -> Result<()> {
    let begin = Instant::now();
    match spec.run(bed).await {
        Ok(_) => bail!("the pod started all the same"),
        Err(error) => check(what, begin, &error, words),
    }
    remove_failed(bed).await
}

/// A container that must not start, in a pod that does.
pub(super) async fn refused_container(
    bed: &Bed,
    what: &str,
    spec: ContainerSpec,
    words: &[&str],
) -> Result<()> {
    refused_container_in(bed, pod("refusing"), what, spec, words).await
}

/// The same in a pod of `pod`.
pub(super) async fn refused_container_in(
    bed: &Bed,
    pod: PodSpec,
    what: &str,
    spec: ContainerSpec,
    words: &[&str],
) -> Result<()> {
    let pod = pod.run(bed).await?;
    let begin = Instant::now();
    match spec.start(&pod).await {
        Ok(_) => bail!("the container started all the same"),
        Err(error) => check(what, begin, &error, words),
    }
    // The pod is none the worse for it.
    let other = ContainerSpec::idle("other").start(&pod).await?;
    other.ask(&["true"]).await?;
    pod.remove().await
}

async fn command_is_missing(bed: &Bed) -> Result<()> {
    let spec = container("main", &["/no/such/command"]);
    let words = ["/no/such/command", "no such file"];
    refused_container(bed, "no such command", spec, &words).await
}

async fn command_is_not_executable(bed: &Bed) -> Result<()> {
    let spec = container("main", &[NOT_EXECUTABLE]).image(ODD);
    let words = [NOT_EXECUTABLE, "permission denied"];
    refused_container(bed, "command not executable", spec, &words).await
}

async fn working_directory_is_a_file(bed: &Bed) -> Result<()> {
    let spec = container("main", &["true"]).working_dir("/etc/passwd");
    let words = ["/etc/passwd", "not a directory"];
    refused_container(bed, "working directory is a file", spec, &words).await
}

async fn kernel_is_missing(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("guest.kernel", "/no/such/vmlinux")?;
    let words = ["/no/such/vmlinux", "guest.kernel"];
    refused_pod(bed, "no such kernel", pod("pod"), &words).await
}

/// As an interrupted copy leaves it.
async fn kernel_is_cut_short(bed: &Bed) -> Result<()> {
    let whole = &bed.product().kernel;
    let kernel = fs::read(whole).with_context(|| format!("read {}", whole.display()))?;
    kernel_of(bed, "kernel cut short", &kernel[..kernel.len() / 2]).await
}

async fn kernel_is_something_else(bed: &Bed) -> Result<()> {
    kernel_of(bed, "kernel is no kernel", &[0x5a; 4096]).await
}

/// As a failing disk leaves it: nothing tells before it runs.
async fn kernel_is_damaged_inside(bed: &Bed) -> Result<()> {
    let whole = &bed.product().kernel;
    let mut kernel = fs::read(whole).with_context(|| format!("read {}", whole.display()))?;
    kernel[3 << 20..4 << 20].fill(0);
    let path = bed.layout.scratch("holed");
    fs::write(&path, kernel).with_context(|| format!("write {}", path.display()))?;
    let checksum = |path: &Path| path.with_extension("crc32");
    fs::copy(checksum(whole), checksum(&path)).context("copy the kernel's checksum")?;
    let shown = path.display().to_string();
    let _changed = bed.configure("guest.kernel", shown.as_str())?;
    let words = [&*shown, "damaged"];
    refused_pod(bed, "kernel damaged inside", pod("pod"), &words).await
}

async fn kernel_of(bed: &Bed, what: &str, bytes: &[u8]) -> Result<()> {
    let path = bed.layout.scratch("vmlinux");
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    let shown = path.display().to_string();
    let _changed = bed.configure("guest.kernel", shown.as_str())?;
    refused_pod(bed, what, pod("pod"), &[&shown, "damaged"]).await
}

async fn agent_of_another_version(bed: &Bed) -> Result<()> {
    let path = bed.layout.scratch("other.cpio");
    initramfs::of_other_agent(&path)?;
    let _changed = bed.configure("guest.initramfs", path.display().to_string())?;
    let words = ["version", "42", "0.0.0-other"];
    refused_pod(bed, "agent of another version", pod("pod"), &words).await
}

async fn unknown_key(bed: &Bed) -> Result<()> {
    let _changed = bed.configure("guest.kernal", "/x")?;
    let file = bed.layout.shim_config().display().to_string();
    let words = [&*file, "guest.kernal", "guest.kernel"];
    refused_pod(bed, "typo in the configuration", pod("pod"), &words).await
}

async fn annotation_out_of_range(bed: &Bed) -> Result<()> {
    let name = "io.katacontainers.config.hypervisor.default_vcpus";
    let pod = pod("pod").annotation(name, "100000");
    refused_pod(bed, "annotation out of range", pod, &[name, "100000"]).await
}

async fn annotation_is_no_number(bed: &Bed) -> Result<()> {
    let name = "io.katacontainers.config.hypervisor.default_memory";
    let pod = pod("pod").annotation(name, "plenty");
    refused_pod(bed, "annotation is no number", pod, &[name, "plenty"]).await
}

/// What the console said last is in the error.
async fn vm_dies_while_booting(bed: &Bed) -> Result<()> {
    let path = bed.layout.scratch("dying.cpio");
    initramfs::of_script(&path, &bed.busybox(), "echo no storage was found; exit 3")?;
    let _changed = bed.configure("guest.initramfs", path.display().to_string())?;
    let words = ["no storage was found", "Attempted to kill init"];
    refused_pod(bed, "VM dies while booting", pod("pod"), &words).await
}

async fn host_network(bed: &Bed) -> Result<()> {
    refused_pod(
        bed,
        "host network",
        pod("pod").host_network(),
        &["hostNetwork"],
    )
    .await
}
