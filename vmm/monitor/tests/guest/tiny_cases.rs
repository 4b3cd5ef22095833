//! Cases with a guest of a few instructions: the process and its socket.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use vmm_api::{Answer, Descriptor, Event, Message, Request, StopReason};

use crate::cases::Case;
use crate::machine::{Shape, kvm};
use crate::{device, socket, tiny};

#[rustfmt::skip]
pub(crate) const ALL: &[Case] = &[
    ("a_tiny_guest_writes_and_exits", a_tiny_guest_writes_and_exits),
    ("the_most_processors_start_a_tiny_guest", the_most_processors_start_a_tiny_guest),
    ("a_wrong_start_is_refused_with_a_reason", a_wrong_start_is_refused_with_a_reason),
    ("the_first_request_has_to_be_a_start", the_first_request_has_to_be_a_start),
    ("a_shim_that_hangs_up_before_the_start_ends_it", a_shim_that_hangs_up_before_the_start_ends_it),
];

const PATIENCE: Duration = Duration::from_secs(20);

struct Vmm {
    process: Child,
    control: OwnedFd,
}

impl Vmm {
    fn spawn() -> anyhow::Result<Self> {
        let (control, theirs) = device::seqpacket()?;
        let mut command = Command::new(lab::path("kata-mshv-vmm"));
        device::pass(&mut command, vec![theirs])?;
        let process = command.spawn().context("start kata-mshv-vmm")?;
        Ok(Self { process, control })
    }

    fn send(&self, request: &Request, fds: &[OwnedFd]) -> anyhow::Result<()> {
        socket::send(&self.control, &serde_json::to_vec(request)?, fds)
    }

    fn message(&self) -> anyhow::Result<Message> {
        let (bytes, _) = socket::receive(&self.control, PATIENCE)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn refusal(&self) -> anyhow::Result<String> {
        match self.message()? {
            Message::Answer(Answer::Refused { why }) => Ok(why),
            other => bail!("{other:?} instead of a refusal"),
        }
    }

    fn code(mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.process.wait()?.code())
    }
}

fn start(shape: Shape, descriptors: &[Descriptor]) -> Request {
    Request::Start {
        machine: shape.config(),
        descriptors: descriptors.to_vec(),
    }
}

const IMAGES: [Descriptor; 4] = [
    Descriptor::Kvm,
    Descriptor::Kernel,
    Descriptor::Initramfs,
    Descriptor::Console,
];

fn a_tiny_guest_writes_and_exits() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(run_tiny(folder.path(), Shape::default())?);
    }
    times.sort();
    println!("exec to the first line of a tiny guest, five times: {times:?}");
    Ok(())
}

fn the_most_processors_start_a_tiny_guest() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for vcpus in [32, 64, 254] {
        let shape = Shape {
            vcpus,
            ..Shape::default()
        };
        let took = run_tiny(folder.path(), shape)?;
        println!("{vcpus} vCPUs: first line after {took:?}");
    }
    // Told of, and never made.
    let shape = Shape {
        max_vcpus: 254,
        ..Shape::default()
    };
    let took = run_tiny(folder.path(), shape)?;
    println!("1 vCPU of 254: first line after {took:?}");
    Ok(())
}

/// Time from exec to the first line.
fn run_tiny(folder: &std::path::Path, shape: Shape) -> anyhow::Result<Duration> {
    let (kernel, initramfs) = tiny::write(folder)?;
    let (mut console, end) = UnixStream::pair()?;
    let began = Instant::now();
    let vmm = Vmm::spawn()?;
    let fds = [
        kvm()?.into(),
        kernel.into(),
        initramfs.into(),
        OwnedFd::from(end),
    ];
    vmm.send(&start(shape, &IMAGES), &fds)?;
    drop(fds);
    let mut line = [0; tiny::LINE.len()];
    console.read_exact(&mut line)?;
    let took = began.elapsed();
    ensure!(line == tiny::LINE.as_bytes(), "{line:?}");
    // The guest may be over before the answer to its start is sent.
    ensure!(vmm.message()? == Message::Answer(Answer::Done));
    let reason = StopReason::Exited {
        status: tiny::STATUS,
    };
    ensure!(vmm.message()? == Message::Event(Event::Stopped { reason }));
    ensure!(vmm.code()? == Some(i32::from(tiny::STATUS)));
    Ok(took)
}

fn a_wrong_start_is_refused_with_a_reason() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let refusal = |shape: Shape, descriptors: &[Descriptor]| {
        let (kernel, initramfs) = tiny::write(folder.path())?;
        let vmm = Vmm::spawn()?;
        let all: [OwnedFd; 4] = [
            kvm()?.into(),
            kernel.into(),
            initramfs.into(),
            device::seqpacket()?.0,
        ];
        vmm.send(&start(shape, descriptors), &all)?;
        let why = vmm.refusal()?;
        ensure!(vmm.code()? == Some(1), "its exit status");
        anyhow::Ok(why)
    };
    let small = Shape {
        memory_mib: 1,
        ..Shape::default()
    };
    let why = refusal(small, &IMAGES)?;
    ensure!(
        why.starts_with("1 MiB of guest memory: it has to be between 64"),
        "{why}"
    );
    // The second file is empty.
    let swapped = [IMAGES[0], IMAGES[2], IMAGES[1], IMAGES[3]];
    let why = refusal(Shape::default(), &swapped)?;
    ensure!(why.starts_with("load the guest kernel: "), "{why}");
    let why = refusal(Shape::default(), &IMAGES[..3])?;
    ensure!(why == "3 descriptors are named and 4 were sent", "{why}");
    Ok(())
}

fn the_first_request_has_to_be_a_start() -> anyhow::Result<()> {
    let vmm = Vmm::spawn()?;
    vmm.send(&Request::Pause, &[])?;
    let why = vmm.refusal()?;
    ensure!(why == "the first request has to be a start", "{why}");
    ensure!(vmm.code()? == Some(1));
    Ok(())
}

fn a_shim_that_hangs_up_before_the_start_ends_it() -> anyhow::Result<()> {
    let Vmm {
        mut process,
        control,
    } = Vmm::spawn()?;
    drop(control);
    ensure!(process.wait()?.success());
    Ok(())
}
