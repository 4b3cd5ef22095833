//! In the guest: disks in its slots.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::libc;

use crate::disks::{CROWD, DISCARDED, HALF, SIZE, ZEROED};
use crate::guest::FIRST_FREE;
use crate::pattern::{check, send};

const DRIVER: &str = "/sys/bus/platform/drivers/virtio-mmio";
const PATIENCE: Duration = Duration::from_secs(30);

#[allow(unsafe_code)] // Block devices have ioctls without safe wrappers.
mod requests {
    use nix::request_code_none;

    nix::ioctl_write_ptr_bad!(discard, request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_write_ptr_bad!(zero, request_code_none!(0x12, 127), [u64; 2]);
    nix::ioctl_none_bad!(drop_cache, request_code_none!(0x12, 97));
}

type Ranged = unsafe fn(libc::c_int, *const [u64; 2]) -> nix::Result<libc::c_int>;

#[allow(unsafe_code)] // As above.
fn ranged(disk: &File, request: Ranged, range: [u64; 2]) -> anyhow::Result<()> {
    // SAFETY: the kernel reads the two numbers during the call.
    unsafe { request(disk.as_raw_fd(), &raw const range) }?;
    Ok(())
}

#[allow(unsafe_code)] // As above.
fn drop_cache(disk: &File) -> anyhow::Result<()> {
    // SAFETY: it takes nothing.
    unsafe { requests::drop_cache(disk.as_raw_fd()) }?;
    Ok(())
}

fn write_name(file: &str, slot: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).open(Path::new(DRIVER).join(file))?;
    file.write_all(slot.as_bytes())
}

/// Until there is a device that a driver takes.
pub(crate) fn bind(slot: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while let Err(error) = write_name("bind", slot) {
        ensure!(began.elapsed() < PATIENCE, "bind {slot}: {error}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn unbind(slot: &str) -> anyhow::Result<()> {
    write_name("unbind", slot).with_context(|| format!("unbind {slot}"))
}

/// The block device in a slot.
fn node(slot: &str) -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from(format!("/sys/bus/platform/devices/{slot}"));
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let block = entry?.path().join("block");
        if let Some(disk) = std::fs::read_dir(block).into_iter().flatten().next() {
            return Ok(disk?.path());
        }
    }
    bail!("no block device in {slot}")
}

fn open(sys: &Path) -> anyhow::Result<File> {
    let name = sys.file_name().context("no name")?;
    let path = Path::new("/dev").join(name);
    let opened = File::options().read(true).write(true).open(&path);
    opened.with_context(|| format!("open {}", path.display()))
}

fn attribute(sys: &Path, name: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(sys.join(name));
    Ok(text.with_context(|| name.to_owned())?.trim().to_owned())
}

/// Writes, discards, fills with zeros, reads what the host wrote, and all of it
/// again.
fn use_disk(sys: &Path, serial: &str) -> anyhow::Result<File> {
    ensure!(attribute(sys, "serial")? == serial);
    ensure!(attribute(sys, "size")? == (SIZE / 512).to_string());
    ensure!(
        attribute(sys, "cache_type")? == "write back"
            || attribute(sys, "queue/write_cache")? == "write back"
    );
    let mut disk = open(sys)?;
    check(&mut disk, HALF).context("the host's half")?;
    let half = HALF as u64;
    let gone = DISCARDED + ZEROED;
    disk.write_all_at(&vec![7; usize::try_from(gone)?], half)?;
    disk.seek(SeekFrom::Start(half + gone))?;
    send(&mut disk, HALF - usize::try_from(gone)?)?;
    disk.sync_all().context("flush")?;
    ranged(&disk, requests::discard, [half, DISCARDED]).context("discard")?;
    ranged(&disk, requests::zero, [half + DISCARDED, ZEROED]).context("zeros")?;
    disk.sync_all().context("flush again")?;
    drop_cache(&disk)?;
    let mut zeros = vec![1; usize::try_from(gone)?];
    disk.read_exact_at(&mut zeros, half)?;
    ensure!(zeros.iter().all(|byte| *byte == 0), "no zeros");
    disk.seek(SeekFrom::Start(half + gone))?;
    check(&mut disk, HALF - usize::try_from(gone)?).context("the guest's half")?;
    Ok(disk)
}

pub(crate) fn disk(words: &mut File) -> anyhow::Result<()> {
    let first = node("virtio-mmio.0")?;
    ensure!(std::fs::read_dir(first.join("mq"))?.count() >= 1);
    drop(use_disk(&first, "first")?);
    writeln!(words, "used")?;
    read_only()?;
    measure(&open(&node("virtio-mmio.2")?)?, words)
}

fn read_only() -> anyhow::Result<()> {
    let sys = node("virtio-mmio.1")?;
    ensure!(attribute(&sys, "ro")? == "1" && attribute(&sys, "serial")? == "second");
    let mut disk = File::open(Path::new("/dev").join(sys.file_name().context("no name")?))?;
    check(&mut disk, HALF).context("the read-only disk")?;
    // Some kernels let it be opened, and none lets it be written.
    let written = open(&sys).and_then(|disk| {
        disk.write_all_at(&[1; 512], 0)?;
        Ok(disk.sync_all()?)
    });
    ensure!(written.is_err(), "a read-only disk was written to");
    Ok(())
}

/// Memory for transfers past the cache.
#[repr(align(4096))]
struct Aligned([u8; 64 << 10]);

fn measure(disk: &File, words: &mut File) -> anyhow::Result<()> {
    let path = format!("/proc/self/fd/{}", disk.as_raw_fd());
    let direct = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let mut buffer = Box::new(Aligned([3; 64 << 10]));
    let (half, rounds) = (HALF as u64, 8_u64);
    let offsets = || (0..HALF as u64 / (64 << 10)).map(|piece| half + piece * (64 << 10));
    let began = Instant::now();
    for offset in (0..rounds).flat_map(|_| offsets()) {
        direct.write_all_at(&buffer.0, offset)?;
    }
    writeln!(words, "written: {}", rate(began, rounds * half))?;
    let began = Instant::now();
    for offset in (0..rounds).flat_map(|_| offsets()) {
        direct.read_exact_at(&mut buffer.0, offset)?;
    }
    writeln!(words, "read: {}", rate(began, rounds * half))?;
    let began = Instant::now();
    for _ in 0..200 {
        direct.write_all_at(&buffer.0[..512], half)?;
        direct.sync_data()?;
    }
    writeln!(words, "synced: {:?} each", began.elapsed() / 200)?;
    let began = Instant::now();
    for number in 0..1000 {
        direct.read_exact_at(&mut buffer.0[..512], number * 4096 % half)?;
    }
    writeln!(words, "many: {:?} a sector", began.elapsed() / 1000)?;
    Ok(())
}

fn rate(began: Instant, bytes: u64) -> String {
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    format!("{} MB/s", bytes / micros.max(1))
}

pub(crate) fn plugged(words: &mut File) -> anyhow::Result<()> {
    for serial in ["first", "second", "third"] {
        writeln!(words, "attach {serial}")?;
        bind(FIRST_FREE)?;
        drop(use_disk(&node(FIRST_FREE)?, serial)?);
        writeln!(words, "used")?;
        // Until the host has tried to take it out.
        thread::sleep(Duration::from_millis(500));
        unbind(FIRST_FREE)?;
        writeln!(words, "unbound")?;
        if node(FIRST_FREE).is_ok() {
            bail!("the disk is still there");
        }
    }
    Ok(())
}

pub(crate) fn crowd(words: &mut File) -> anyhow::Result<()> {
    writeln!(words, "attach all")?;
    let slots: Vec<_> = (3..3 + CROWD).map(|n| format!("virtio-mmio.{n}")).collect();
    for (number, slot) in slots.iter().enumerate() {
        bind(slot)?;
        let sys = node(slot)?;
        ensure!(attribute(&sys, "serial")? == format!("disk-{number}"));
        let disk = open(&sys)?;
        disk.write_all_at(format!("disk {number:3}").as_bytes(), 4096)?;
        disk.sync_all()?;
    }
    writeln!(words, "written")?;
    for slot in &slots {
        unbind(slot)?;
    }
    writeln!(words, "unbound")?;
    // Until the host has taken them all out.
    thread::sleep(Duration::from_secs(2));
    Ok(())
}

pub(crate) fn unbound_while_busy(words: &mut File) -> anyhow::Result<()> {
    for _ in 0..5 {
        writeln!(words, "attach")?;
        bind(FIRST_FREE)?;
        let disk = open(&node(FIRST_FREE)?)?;
        let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for part in 0..4 {
                let (disk, done, written) = (&disk, &done, &written);
                scope.spawn(move || keep_busy(disk, part, done, written));
            }
            while written.load(Ordering::Relaxed) < 8 {
                thread::sleep(Duration::from_millis(1));
            }
            let result = writeln!(words, "busy").map_err(Into::into);
            let result = result.and_then(|()| unbind(FIRST_FREE));
            done.store(true, Ordering::Relaxed);
            result
        })?;
        let written = written.load(Ordering::Relaxed);
        writeln!(words, "unbound after {written} pieces")?;
    }
    Ok(())
}

/// Writes and flushes until the disk is gone, or it is time.
fn keep_busy(disk: &File, part: u64, done: &AtomicBool, written: &AtomicU64) {
    let piece = vec![5; 64 << 10];
    while !done.load(Ordering::Relaxed) {
        let offset = part * (1 << 20);
        let wrote = disk.write_all_at(&piece, offset);
        if wrote.and_then(|()| disk.sync_data()).is_err() {
            return;
        }
        written.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn cut_off(words: &mut File) -> anyhow::Result<()> {
    writeln!(words, "attach")?;
    bind(FIRST_FREE)?;
    let mut disk = open(&node(FIRST_FREE)?)?;
    let began = Instant::now();
    writeln!(words, "cut it off")?;
    while read_all(&mut disk).is_ok() {
        ensure!(began.elapsed() < PATIENCE, "no error");
        thread::sleep(Duration::from_millis(20));
    }
    let mut first = [0; 4096];
    disk.read_exact_at(&mut first, 0).context("what is left")?;
    writeln!(words, "an error")?;
    while read_all(&mut disk).is_err() {
        ensure!(began.elapsed() < PATIENCE, "errors");
        thread::sleep(Duration::from_millis(20));
    }
    writeln!(words, "all is well again")?;
    drop(disk);
    unbind(FIRST_FREE)?;
    writeln!(words, "unbound")?;
    Ok(())
}

fn read_all(disk: &mut File) -> anyhow::Result<()> {
    drop_cache(disk)?;
    disk.rewind()?;
    let mut bytes = Vec::new();
    disk.read_to_end(&mut bytes)?;
    Ok(())
}
