//! The least that a VM's start can take: QEMU, kernel and initramfs.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::bed::{Bed, Product};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Longer than any boot.
const LIMIT: Duration = Duration::from_secs(60);

/// QEMU's command line without the devices that are a pod's.
pub(crate) struct Floor {
    program: String,
    args: Vec<String>,
}

impl Floor {
    /// The command line of the running QEMU `pid`, which boots `product`.
    pub(crate) fn like(pid: u32, product: &Product) -> Result<Self> {
        let path = format!("/proc/{pid}/cmdline");
        let line = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let mut words = line.trim_end_matches('\0').split('\0').map(str::to_owned);
        let program = words.next().context("a process without a name")?;
        Ok(Self {
            program,
            args: bare(words.collect(), product),
        })
    }

    /// From QEMU's start to the agent's first word. The agent finds no host to
    /// dial, says so on the console, and ends the guest.
    pub(crate) async fn boot(&self, bed: &Bed) -> Result<Duration> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(bed.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let begin = Instant::now();
        let mut qemu = command.spawn().context("start QEMU")?;
        let mut console = qemu.stdout.take().context("QEMU has no output")?;
        let mut text = Vec::new();
        let read = timeout(LIMIT, console.read_buf(&mut text)).await;
        let took = begin.elapsed();
        read.context("the bare guest says nothing")??;
        timeout(LIMIT, console.read_to_end(&mut text))
            .await
            .context("the bare guest does not end")??;
        timeout(LIMIT, qemu.wait())
            .await
            .context("QEMU does not end")??;
        let text = String::from_utf8_lossy(&text);
        ensure!(
            text.contains("reach the host"),
            "the bare guest said: {text}"
        );
        Ok(took)
    }
}

/// Leaves out what is connected to inherited descriptors; the console becomes
/// standard output.
fn bare(args: Vec<String>, product: &Product) -> Vec<String> {
    let mut kept = Vec::new();
    let mut args = args.into_iter().peekable();
    while let Some(name) = args.next() {
        let value = args.next_if(|next| !next.starts_with('-'));
        match value {
            None => kept.push(name),
            Some(value) if is_pods(&name, &value) => {}
            Some(value) if value.starts_with("socket,id=console") => {
                kept.extend([name, "stdio,id=console,signal=off".to_owned()]);
            }
            Some(_) if name == "-kernel" => kept.extend([name, path(&product.kernel)]),
            Some(_) if name == "-initrd" => kept.extend([name, path(&product.initramfs)]),
            Some(value) => kept.extend([name, value]),
        }
    }
    kept
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Devices that reach the host, and what a pod can grow by.
const PODS: [&str; 4] = ["vhost-user-", "virtio-net", "virtio-mem", "pcie-root-port"];

fn is_pods(name: &str, value: &str) -> bool {
    match name {
        "-netdev" | "-mon" => true,
        "-object" => value.contains("id=more,"),
        "-device" => PODS.iter().any(|device| value.starts_with(device)),
        "-chardev" => value.starts_with("socket,") && !value.contains("id=console,"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_pods_is_left_out() {
        let product = Product {
            bin: "/b".into(),
            fs: "/f".into(),
            vsock: "/v".into(),
            vmm: "/m".into(),
            kernel: "/k".into(),
            initramfs: "/i".into(),
        };
        let line = "-nodefaults -m 2048M -kernel /proc/self/fd/6 -initrd /proc/self/fd/7 -chardev socket,id=console,fd=3 -serial chardev:console \
                    -chardev socket,id=vsock,fd=4 -device vhost-user-vsock-pci,chardev=vsock \
                    -chardev socket,id=monitor,fd=8 -mon chardev=monitor,mode=control \
                    -object memory-backend-memfd,id=mem -object memory-backend-memfd,id=more,size=8192M \
                    -device virtio-mem-pci,memdev=more -device pcie-root-port,id=port0 \
                    -device virtio-rng-pci -netdev tap,id=net0,fd=6 -device virtio-net-pci,netdev=net0";
        let kept = bare(
            line.split_whitespace().map(str::to_owned).collect(),
            &product,
        );
        assert_eq!(
            kept.join(" "),
            "-nodefaults -m 2048M -kernel /k -initrd /i -chardev stdio,id=console,signal=off \
             -serial chardev:console -object memory-backend-memfd,id=mem -device virtio-rng-pci"
        );
    }
}
