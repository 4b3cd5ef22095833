//! Disks at the start and later, on files and a block device, and what the
//! guest does with them.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use std::time::Instant;

use anyhow::{Context, ensure};
use vmm_api::{DiskConfig, Pluggable};

use crate::guest::FIRST_FREE;
use crate::machine::{Devices, Machine};
use crate::pattern::{check, send};

/// Bytes of a disk: half of it the host's, half the guest's.
pub(crate) const SIZE: u64 = 8 << 20;
pub(crate) const HALF: usize = 4 << 20;

/// What the guest discards and fills with zeros, from the start of its half.
pub(crate) const DISCARDED: u64 = 1 << 20;
pub(crate) const ZEROED: u64 = 1 << 20;

/// Disks that fit beside the three devices of each machine.
pub(crate) const CROWD: usize = 29;

/// How the VMM does the work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Ring,
    Forbidden,
}

/// Puts it back.
struct IoUring(String);

impl IoUring {
    const SETTING: &str = "/proc/sys/kernel/io_uring_disabled";

    fn forbid() -> anyhow::Result<Self> {
        let before = std::fs::read_to_string(Self::SETTING).context(Self::SETTING)?;
        std::fs::write(Self::SETTING, "2")?;
        Ok(Self(before))
    }
}

impl Drop for IoUring {
    fn drop(&mut self) {
        // The next case would fail, and say so.
        let _ = std::fs::write(Self::SETTING, self.0.trim());
    }
}

fn config(serial: &str, read_only: bool, queues: u16) -> DiskConfig {
    DiskConfig {
        serial: serial.to_owned(),
        read_only,
        queues,
    }
}

/// With a pattern in its first half.
fn file() -> anyhow::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.set_len(SIZE)?;
    send(&mut file, HALF)?;
    Ok(file)
}

/// A disk comes to that slot, for which the guest has waited.
pub(crate) fn signal(machine: &Machine, slot: &str) -> anyhow::Result<()> {
    let file = tempfile::tempfile()?;
    file.set_len(512)?;
    let came = machine.attach(Pluggable::Disk(config("signal", true, 1)), file.into())?;
    ensure!(came == slot, "{came} instead of {slot}");
    Ok(())
}

fn fd(file: &File) -> anyhow::Result<OwnedFd> {
    Ok(file.try_clone()?.into())
}

/// What the guest of `slots::use_disk` has left.
fn check_used(file: &mut File) -> anyhow::Result<()> {
    file.rewind()?;
    check(file, HALF).context("the host's half")?;
    let gone = usize::try_from(DISCARDED + ZEROED)?;
    let mut zeros = vec![1; gone];
    file.read_exact_at(&mut zeros, HALF as u64)?;
    ensure!(zeros.iter().all(|byte| *byte == 0), "no zeros");
    file.seek(std::io::SeekFrom::Start(HALF as u64 + gone as u64))?;
    check(file, HALF - gone).context("the guest's half")
}

pub(crate) fn there_at_the_start(engine: Engine) -> anyhow::Result<()> {
    let _forbidden = (engine == Engine::Forbidden)
        .then(IoUring::forbid)
        .transpose()?;
    let (mut first, mut second) = (file()?, file()?);
    let disks = vec![
        (config("first", false, 2), fd(&first)?),
        (config("second", true, 1), fd(&second)?),
        (config("speed", false, 1), fd(&file()?)?),
    ];
    let nets = Vec::new();
    let mut machine = Machine::start(
        "disk",
        Devices {
            nets,
            disks,
            ..Devices::default()
        },
    )?;
    ensure!(machine.line()? == "used");
    check_used(&mut first)?;
    let blocks = first.metadata()?.blocks() * 512;
    // Zeros without leave to deallocate take room, discarded ones none.
    ensure!(blocks == SIZE - DISCARDED, "{blocks} bytes of room");
    for _ in ["written", "read", "synced", "many"] {
        machine.line()?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()?;
    second.rewind()?;
    check(&mut second, HALF).context("the read-only disk")
}

/// A loop device: its discards are holes in its file.
struct Loop {
    device: File,
    file: File,
}

#[allow(unsafe_code)] // loop(4) is driven by ioctls, which have no safe wrappers.
mod requests {
    nix::ioctl_none_bad!(get_free, 0x4c82);
    nix::ioctl_write_int_bad!(set_fd, 0x4c00);
    nix::ioctl_none_bad!(clear_fd, 0x4c01);
}

impl Loop {
    #[allow(unsafe_code)] // As above.
    fn new(file: File) -> anyhow::Result<Self> {
        let both = || File::options().read(true).write(true).clone();
        let control = both().open("/dev/loop-control")?;
        // SAFETY: it takes nothing.
        let number = unsafe { requests::get_free(control.as_raw_fd()) }?;
        let device = both().open(format!("/dev/loop{number}"))?;
        // SAFETY: it takes the number of a descriptor, which is open.
        unsafe { requests::set_fd(device.as_raw_fd(), file.as_raw_fd()) }?;
        Ok(Self { device, file })
    }
}

impl Drop for Loop {
    #[allow(unsafe_code)] // As above.
    fn drop(&mut self) {
        // SAFETY: it takes nothing.
        let _ = unsafe { requests::clear_fd(self.device.as_raw_fd()) };
    }
}

pub(crate) fn a_block_device_is_a_disk() -> anyhow::Result<()> {
    let mut disk = Loop::new(file()?)?;
    let device = fd(&disk.device)?;
    let mut machine = Machine::start("plugged", Devices::default())?;
    ensure!(machine.line()? == "attach first");
    let slot = machine.attach(Pluggable::Disk(config("first", false, 1)), device)?;
    ensure!(machine.line()? == "used");
    ensure!(machine.line()? == "unbound");
    machine.detach(&slot)?;
    disk.device.sync_all()?;
    check_used(&mut disk.file)?;
    let blocks = disk.file.metadata()?.blocks() * 512;
    ensure!(blocks <= SIZE - DISCARDED, "{blocks} bytes of room");
    Ok(())
}

pub(crate) fn comes_and_goes() -> anyhow::Result<()> {
    let mut machine = Machine::start("plugged", Devices::default())?;
    refused(machine.detach(FIRST_FREE), "there is none")?;
    refused(
        machine.detach("virtio-mmio.0"),
        "it stays as long as the machine",
    )?;
    refused(
        machine.detach("virtio-mmio.99"),
        "is not the name of a slot",
    )?;
    for serial in ["first", "second", "third"] {
        ensure!(machine.line()? == format!("attach {serial}"));
        let mut file = file()?;
        let wrong = Pluggable::Disk(config("", false, 1));
        refused(machine.attach(wrong, fd(&file)?).map(drop), "serial")?;
        let disk = Pluggable::Disk(config(serial, false, 1));
        let slot = machine.attach(disk, fd(&file)?)?;
        ensure!(slot == FIRST_FREE, "{slot}");
        ensure!(machine.line()? == "used");
        refused(machine.detach(&slot), "has not let go of it")?;
        ensure!(machine.line()? == "unbound");
        machine.detach(&slot)?;
        check_used(&mut file)?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()
}

fn refused(result: anyhow::Result<()>, why: &str) -> anyhow::Result<()> {
    let error = result.err().context("it was not refused")?;
    println!("refused: {error}");
    ensure!(error.to_string().contains(why), "{error}");
    Ok(())
}

pub(crate) fn come_until_there_is_no_slot_left() -> anyhow::Result<()> {
    let mut machine = Machine::start("crowd", Devices::default())?;
    ensure!(machine.line()? == "attach all");
    let descriptors = machine.descriptors()?;
    let mut all = Vec::new();
    let began = Instant::now();
    for number in 0..CROWD {
        let file = tempfile::tempfile()?;
        file.set_len(1 << 20)?;
        let disk = Pluggable::Disk(config(&format!("disk-{number}"), false, 1));
        let slot = machine.attach(disk, fd(&file)?)?;
        all.push((slot, file));
    }
    println!("{CROWD} disks put in in {:?}", began.elapsed());
    let one_more = Pluggable::Disk(config("more", false, 1));
    refused(
        machine.attach(one_more, fd(&file()?)?).map(drop),
        "all 32 slots",
    )?;
    ensure!(machine.line()? == "written");
    for (number, (_, file)) in all.iter().enumerate() {
        let mut text = [0; 8];
        file.read_exact_at(&mut text, 4096)?;
        let expected = format!("disk {number:3}");
        ensure!(text == expected.as_bytes(), "{expected}: {text:?}");
    }
    ensure!(machine.line()? == "unbound");
    let began = Instant::now();
    for (slot, _) in all.iter().rev() {
        machine.detach(slot)?;
    }
    println!("{CROWD} disks taken out in {:?}", began.elapsed());
    let left = machine.descriptors()?;
    ensure!(
        left == descriptors,
        "{descriptors} descriptors, then {left}"
    );
    ensure!(machine.line()? == "done");
    machine.finish()
}

pub(crate) fn a_driver_lets_go_of_a_busy_disk() -> anyhow::Result<()> {
    let mut machine = Machine::start("unbound", Devices::default())?;
    for round in 0..5 {
        ensure!(machine.line()? == "attach");
        let disk = Pluggable::Disk(config("busy", false, 1));
        let slot = machine.attach(disk, fd(&file()?)?)?;
        ensure!(machine.line()? == "busy");
        let last = machine.line()?;
        ensure!(last.starts_with("unbound"), "round {round}: {last}");
        machine.detach(&slot)?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()
}

pub(crate) fn a_file_that_is_cut_off() -> anyhow::Result<()> {
    let mut machine = Machine::start("cut-off", Devices::default())?;
    ensure!(machine.line()? == "attach");
    let file = file()?;
    let disk = Pluggable::Disk(config("short", false, 1));
    let slot = machine.attach(disk, fd(&file)?)?;
    ensure!(machine.line()? == "cut it off");
    file.set_len(1 << 20)?;
    ensure!(machine.line()? == "an error");
    file.set_len(SIZE)?;
    ensure!(machine.line()? == "all is well again");
    ensure!(machine.line()? == "unbound");
    machine.detach(&slot)?;
    ensure!(machine.line()? == "done");
    machine.finish()
}
