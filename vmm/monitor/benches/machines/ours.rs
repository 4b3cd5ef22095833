//! The built-in VMM in the contest.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use std::fs::File;
use vmm_api::{Descriptor, Request};

use crate::contest::{Boot, Images};
use crate::machine::{Machine, Shape, kvm};
use crate::{device, memory, socket, tiny};

/// Linux with the pod's two devices, each served by a process of its own. The
/// time runs from before these are started.
pub(crate) fn boot(memory_mib: u64) -> anyhow::Result<Boot> {
    let began = Instant::now();
    let machine = Machine::start(Shape {
        memory_mib,
        ..Shape::default()
    })?;
    let _agent = machine.agent_hello()?;
    Ok(Boot {
        everything: began.elapsed(),
        hello: machine.began.elapsed(),
        own_kib: memory::own(machine.vmm.id(), memory_mib)?,
    })
}

/// Exec to the first line of the tiny guest.
pub(crate) fn tiny(images: &Images) -> anyhow::Result<Duration> {
    let (mut console, end) = UnixStream::pair()?;
    let (control, theirs) = device::seqpacket()?;
    let began = Instant::now();
    let mut command = Command::new(lab::path("kata-mshv-vmm"));
    device::pass(&mut command, vec![theirs])?;
    let mut vmm = command.spawn().context("start kata-mshv-vmm")?;
    drop(command);
    let fds = [
        kvm()?.into(),
        File::open(&images.kernel)?.into(),
        File::open(&images.initramfs)?.into(),
        OwnedFd::from(end),
    ];
    let request = Request::Start {
        machine: Shape::default().config(),
        descriptors: vec![
            Descriptor::Kvm,
            Descriptor::Kernel,
            Descriptor::Initramfs,
            Descriptor::Console,
        ],
    };
    socket::send(&control, &serde_json::to_vec(&request)?, &fds)?;
    let mut line = [0; tiny::LINE.len()];
    console.read_exact(&mut line)?;
    let took = began.elapsed();
    ensure!(line == tiny::LINE, "{line:?}");
    drop(control);
    vmm.wait()?;
    Ok(took)
}
