//! A tap between the guest and this process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};
use vmm_api::{Answer, NetConfig, Request};

use crate::disks;
use crate::guest::{self, LATE, SEEN};
use crate::interface::{configure, taps};
use crate::machine::{Devices, MEMORY_MIB, Machine, Net, Thread};
use crate::pattern::{check, send};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const PING_PORT: u16 = 7;
pub(crate) const STREAM_PORT: u16 = 8;
pub(crate) const PINGS: u32 = 50;
/// Each way, unless the environment of the guest's init has another number.
pub(crate) const BYTES: usize = 16 << 20;
pub(crate) const BYTES_MARK: &str = "KATA_MSHV_DEVICE_BYTES";
/// Times that a driver begins anew.
pub(crate) const AGAIN: usize = 3;
/// Pairs of queues, where there are several.
pub(crate) const PAIRS: u16 = 2;

/// Who moves packets between the guest's memory and the tap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mover {
    /// The VMM's main thread.
    Vmm,
    /// vhost-net.
    Kernel,
}

/// The host's end: an interface for the guest on a tap in a network namespace of
/// its own, where nothing of the host's is in the way, nor in theirs; and who
/// answers on it.
pub(crate) fn wire(mover: Mover, pairs: u16) -> anyhow::Result<Net> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let taps = taps("tap0", pairs)?;
    configure("tap0", HOST)?;
    let echo = UdpSocket::bind((HOST, PING_PORT))?;
    let listener = TcpListener::bind((HOST, STREAM_PORT))?;
    // Neither ends before this process. What they do not like, the guest misses.
    thread::spawn(move || answer_pings(&echo));
    thread::spawn(move || serve_streams(&listener));
    let vhost = mover == Mover::Kernel;
    let vhosts: Result<_, _> = taps.iter().filter(|_| vhost).map(|_| vhost_net()).collect();
    Ok(Net {
        config: NetConfig {
            mac: "02:00:00:00:00:01".into(),
            mtu: 1450,
            queue_pairs: pairs,
            vhost,
        },
        taps,
        vhosts: vhosts?,
    })
}

fn vhost_net() -> anyhow::Result<OwnedFd> {
    let mut options = File::options();
    let opened = options.read(true).write(true).open("/dev/vhost-net");
    Ok(opened.context("open /dev/vhost-net")?.into())
}

/// Such a machine has nothing else.
pub(crate) fn with(net: Net) -> Devices {
    Devices {
        nets: vec![net],
        ..Devices::default()
    }
}

pub(crate) fn packets_go_both_ways(mover: Mover) -> anyhow::Result<()> {
    let mut machine = Machine::start("network", with(wire(mover, 1)?))?;
    traffic(&mut machine, mover)?;
    ensure!(machine.line()? == "done");
    machine.finish()
}

/// What a guest's `network` says.
fn traffic(machine: &mut Machine, mover: Mover) -> anyhow::Result<()> {
    ensure!(machine.line()? == "eth0 02:00:00:00:00:01 1450 1");
    let waits = |machine: &Machine| {
        let waits = machine.waits(Thread::Main)?;
        waits.first().copied().context("no main thread")
    };
    let before = waits(machine)?;
    machine.line()?;
    let woken = waits(machine)? - before;
    // It is woken for each ping or for none; the console wakes it too.
    let is_woken = woken > u64::from(PINGS) / 2;
    ensure!(
        is_woken == (mover == Mover::Vmm),
        "{woken} for {PINGS} pings"
    );
    packets_wait_while_the_machine_is_paused(machine)?;
    for _ in ["sent", "received"] {
        machine.line()?;
    }
    Ok(())
}

pub(crate) fn an_interface_comes_and_goes(mover: Mover) -> anyhow::Result<()> {
    let net = wire(mover, 1)?;
    let mut machine = Machine::start("plugged-network", Devices::default())?;
    ensure!(machine.line()? == "attach");
    let descriptors = machine.descriptors()?;
    let slot = machine.attach_net(net)?;
    ensure!(slot == guest::FIRST_FREE, "{slot}");
    traffic(&mut machine, mover)?;
    ensure!(machine.line()? == "unbound");
    machine.detach(&slot)?;
    ensure!(machine.descriptors()? == descriptors, "some stay open");
    ensure!(machine.waits(Thread::Vhost)?.is_empty(), "a thread stays");
    for slot in [guest::FIRST_FREE, SEEN] {
        disks::signal(&machine, slot)?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()
}

pub(crate) fn a_driver_begins_anew(mover: Mover) -> anyhow::Result<()> {
    let mut machine = Machine::start("network-again", with(wire(mover, 1)?))?;
    traffic(&mut machine, mover)?;
    for _ in 0..AGAIN {
        machine.line()?;
    }
    for _ in ["sent", "received"] {
        machine.line()?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()
}

pub(crate) fn each_processor_has_its_queues(mover: Mover) -> anyhow::Result<()> {
    let mut machine = Machine::start(
        "network-on-each-processor",
        Devices {
            more_vcpus: u32::from(PAIRS) - 1,
            ..with(wire(mover, PAIRS)?)
        },
    )?;
    // One each way.
    ensure!(machine.line()? == format!("queues {}", 2 * PAIRS));
    for _ in 0..PAIRS {
        machine.line()?;
    }
    if mover == Mover::Kernel {
        let waits = machine.waits(Thread::Vhost)?;
        let woken = waits.iter().sum::<u64>() > u64::from(PINGS);
        ensure!(woken && waits.len() == usize::from(PAIRS), "{waits:?}");
    }
    packets_wait_while_the_machine_is_paused(&machine)?;
    for _ in ["sent", "received"] {
        machine.line()?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()
}

/// As a guest's kernel that has late memory to itself takes buffers from it first.
pub(crate) fn packets_reach_late_memory(mover: Mover) -> anyhow::Result<()> {
    let mut machine = Machine::start(
        "grown-network",
        Devices {
            late_mib: LATE,
            parameters: "memhp_default_state=online_kernel",
            ..with(wire(mover, 1)?)
        },
    )?;
    machine.line()?;
    let memory_mib = MEMORY_MIB + LATE;
    machine.ask(&Request::ResizeMemory { memory_mib }, &[])?;
    ensure!(machine.line()? == "grown");
    traffic(&mut machine, mover)?;
    ensure!(machine.line()? == "done");
    machine.finish()
}

fn packets_wait_while_the_machine_is_paused(machine: &Machine) -> anyhow::Result<()> {
    ensure!(machine.ask(&Request::Pause, &[])? == Answer::Done);
    let before = packets_taken()?;
    let socket = UdpSocket::bind((HOST, 0))?;
    for _ in 0..5 {
        socket.send_to(b"for later", (GUEST, 9))?;
    }
    thread::sleep(Duration::from_millis(200));
    let taken = packets_taken()? - before;
    ensure!(taken == 0, "{taken} packets reached a paused guest");
    ensure!(machine.ask(&Request::Resume, &[])? == Answer::Done);
    let began = Instant::now();
    while packets_taken()? < before + 5 {
        ensure!(began.elapsed() < Duration::from_secs(20), "packets stay");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Packets that were taken from the tap (proc_pid_net(5), `dev`: the tenth
/// number).
fn packets_taken() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let counts = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("tap0:"));
    let mut counts = counts.context("no tap0")?.split_whitespace();
    Ok(counts.nth(9).context("no count")?.parse()?)
}

fn answer_pings(socket: &UdpSocket) -> anyhow::Result<()> {
    loop {
        let mut ping = [0; 8];
        let (length, from) = socket.recv_from(&mut ping)?;
        socket.send_to(ping.get(..length).unwrap_or_default(), from)?;
    }
}

fn serve_streams(listener: &TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = serve_stream(stream) {
            println!("stream: {error:#}");
        }
    }
}

/// As many bytes as the guest says, each way.
fn serve_stream(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    let bytes = usize::try_from(u64::from_le_bytes(bytes))?;
    check(&mut stream, bytes)?;
    stream.write_all(&[1])?;
    send(&mut stream, bytes)
}
