//! In the guest: its init.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::tcdrain;
use nix::unistd::Pid;

use crate::interface::configure;
use crate::network::{self, AGAIN, BYTES, GUEST, HOST, PAIRS, PING_PORT, PINGS, STREAM_PORT};
use crate::pattern::{check, send};
use crate::slots;

/// A kernel parameter that no part of the kernel knows gets into init's
/// environment.
pub(crate) const MARK: &str = "KATA_MSHV_DEVICE_CASE";

/// The slot behind those of the entropy device, the balloon and the console,
/// where there are no other devices.
pub(crate) const FIRST_FREE: &str = "virtio-mmio.3";

/// That of an interface that is there from the start.
const FIRST_SLOT: &str = "virtio-mmio.0";

/// Where the host puts a disk when it has looked at a guest's memory, and when it
/// has seen it come back: a guest hears nothing else of it.
pub(crate) const LOOKED: &str = FIRST_FREE;
pub(crate) const SEEN: &str = "virtio-mmio.4";
/// The former where there is a device for memory, too.
pub(crate) const GROWTH_LOOKED: &str = "virtio-mmio.4";

/// Touched, then freed.
pub(crate) const WASTE: usize = 96 << 20;

/// MiB that come, and bytes of which are used: more than there were before.
pub(crate) const LATE: u64 = 512;
pub(crate) const LATE_USED: usize = 320 << 20;

/// What to do, if this process is a guest's init.
pub(crate) fn case() -> Option<String> {
    let case = std::env::var(MARK).ok()?;
    (std::process::id() == 1).then_some(case)
}

/// Does it, and ends the machine.
pub(crate) fn run(case: &str) -> ! {
    let none = None::<&str>;
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        // The console shows whatever follows from a failure.
        let _ = std::fs::create_dir(place);
        let _ = mount(Some(kind), place, Some(kind), MsFlags::empty(), none);
    }
    match OpenOptions::new().write(true).open("/dev/hvc0") {
        Ok(mut words) => speak(case, &mut words),
        Err(error) => eprintln!("no hvc0: {error}"),
    }
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => panic!("cannot restart: {error}"),
    }
}

fn speak(case: &str, words: &mut File) {
    let result = match case {
        "network" => network(words),
        "memory" => memory(words),
        "plugged-network" => plugged_network(words),
        "network-again" => network_again(words),
        "network-on-each-processor" => network_on_each_processor(words),
        "grown-network" => grown_network(words),
        "disk" => slots::disk(words),
        "plugged" => slots::plugged(words),
        "crowd" => slots::crowd(words),
        "unbound" => slots::unbound_while_busy(words),
        "cut-off" => slots::cut_off(words),
        "growth" => growth(words),
        "balloon" => balloon(words),
        other => Err(anyhow::anyhow!("no case {other}")),
    };
    let last = match result {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("failed: {error:#}"),
    };
    let _ = writeln!(words, "{last}");
    let _ = tcdrain(&words);
}

fn network(words: &mut File) -> anyhow::Result<()> {
    let read = |file: &str| {
        let path = format!("/sys/class/net/eth0/{file}");
        let text = std::fs::read_to_string(&path).context(path)?;
        anyhow::Ok(text.trim().to_owned())
    };
    configure("eth0", GUEST).context("configure eth0")?;
    let (address, mtu, carrier) = (read("address")?, read("mtu")?, read("carrier")?);
    writeln!(words, "eth0 {address} {mtu} {carrier}")?;
    writeln!(words, "ping {}", ping()?.as_micros())?;
    stream(words)
}

/// Microseconds that it takes each way.
fn stream(words: &mut File) -> anyhow::Result<()> {
    let bytes = std::env::var(network::BYTES_MARK).map_or(Ok(BYTES), |text| text.parse())?;
    let mut stream = TcpStream::connect((HOST, STREAM_PORT)).context("connect")?;
    stream.write_all(&u64::try_from(bytes)?.to_le_bytes())?;
    let began = Instant::now();
    send(&mut stream, bytes)?;
    let mut byte = [0];
    stream.read_exact(&mut byte).context("wait for the host")?;
    writeln!(words, "sent {}", began.elapsed().as_micros())?;
    let began = Instant::now();
    check(&mut stream, bytes)?;
    writeln!(words, "received {}", began.elapsed().as_micros())?;
    Ok(())
}

fn plugged_network(words: &mut File) -> anyhow::Result<()> {
    writeln!(words, "attach")?;
    slots::bind(FIRST_FREE)?;
    network(words)?;
    slots::unbind(FIRST_FREE)?;
    writeln!(words, "unbound")?;
    // Not where the interface was: it would be bound again.
    slots::bind(SEEN)
}

/// The driver resets the device, and sets it up again.
fn network_again(words: &mut File) -> anyhow::Result<()> {
    network(words)?;
    for _ in 0..AGAIN {
        slots::unbind(FIRST_SLOT)?;
        slots::bind(FIRST_SLOT)?;
        configure("eth0", GUEST).context("configure eth0")?;
        writeln!(words, "ping {}", ping()?.as_micros())?;
    }
    stream(words)
}

/// A queue is used by the processor of its number.
fn network_on_each_processor(words: &mut File) -> anyhow::Result<()> {
    configure("eth0", GUEST).context("configure eth0")?;
    let queues = std::fs::read_dir("/sys/class/net/eth0/queues")?.count();
    writeln!(words, "queues {queues}")?;
    for processor in 0..usize::from(PAIRS) {
        let mut only = CpuSet::new();
        only.set(processor)?;
        sched_setaffinity(Pid::from_raw(0), &only)?;
        writeln!(words, "ping {}", ping()?.as_micros())?;
    }
    let mut all = CpuSet::new();
    for processor in 0..usize::from(PAIRS) {
        all.set(processor)?;
    }
    sched_setaffinity(Pid::from_raw(0), &all)?;
    stream(words)
}

/// Once there is more memory, which the kernel takes buffers from.
fn grown_network(words: &mut File) -> anyhow::Result<()> {
    let first = total_mib()?;
    writeln!(words, "total {first}")?;
    while total_mib()? < first + LATE {
        std::thread::sleep(Duration::from_millis(50));
    }
    writeln!(words, "grown")?;
    network(words)
}

/// Median round trip.
fn ping() -> anyhow::Result<Duration> {
    let socket = UdpSocket::bind((GUEST, 0))?;
    socket.connect((HOST, PING_PORT))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut times = Vec::new();
    for number in 0..PINGS {
        let began = Instant::now();
        socket.send(&number.to_le_bytes())?;
        let mut answer = [0; 8];
        let length = socket.recv(&mut answer).context("wait for an answer")?;
        ensure!(
            answer.get(..length) == Some(&number.to_le_bytes()[..]),
            "{answer:?}"
        );
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("no pings")
}

fn memory(words: &mut File) -> anyhow::Result<()> {
    writeln!(words, "started")?;
    let mut waste = vec![0_u8; WASTE];
    waste.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    writeln!(
        words,
        "touched {}",
        waste
            .iter()
            .step_by(4096)
            .filter(|byte| **byte == 1)
            .count()
    )?;
    slots::bind(LOOKED)?;
    drop(waste);
    writeln!(words, "freed")?;
    // The kernel reports what stays free for two seconds.
    slots::bind(SEEN)?;
    let again = vec![2_u8; WASTE / 2];
    ensure!(
        again.chunks(4096).all(|page| page == [2; 4096]),
        "memory is not what was written"
    );
    writeln!(words, "used again")?;
    Ok(())
}

/// Says how much memory there is whenever that has changed, and uses it.
fn growth(words: &mut File) -> anyhow::Result<()> {
    let first = total_mib()?;
    writeln!(words, "total {first}")?;
    let grown = loop {
        let total = total_mib()?;
        if total >= first + LATE {
            break total;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    writeln!(words, "total {grown}")?;
    let mut used = vec![0_u8; LATE_USED];
    used.iter_mut().step_by(4096).for_each(|byte| *byte = 3);
    let kept = used.iter().step_by(4096).filter(|byte| **byte == 3);
    writeln!(words, "used {}", kept.count())?;
    slots::bind(GROWTH_LOOKED)?;
    drop(used);
    writeln!(words, "freed")?;
    let last = loop {
        let total = total_mib()?;
        if total <= first {
            break total;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    writeln!(words, "total {last}")?;
    Ok(())
}

/// Says how much memory is there to use whenever the host has looked.
fn balloon(words: &mut File) -> anyhow::Result<()> {
    for next in [LOOKED, SEEN] {
        writeln!(words, "available {}", meminfo_mib("MemAvailable:")?)?;
        slots::bind(next)?;
    }
    writeln!(words, "available {}", meminfo_mib("MemAvailable:")?)?;
    Ok(())
}

fn total_mib() -> anyhow::Result<u64> {
    meminfo_mib("MemTotal:")
}

fn meminfo_mib(name: &'static str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context(name)?.trim().parse::<u64>()? / 1024)
}
