//! A tap between the guest and this process.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};
use vmm_api::{Answer, NetConfig, Pluggable, Request};

use crate::guest;
use crate::interface::{configure, tap};
use crate::machine::{Devices, Machine};
use crate::pattern::{check, send};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const PING_PORT: u16 = 7;
pub(crate) const STREAM_PORT: u16 = 8;
pub(crate) const PINGS: u32 = 50;
/// Each way.
pub(crate) const BYTES: usize = 16 << 20;

/// When the interface comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    AtStart,
    Later,
}

pub(crate) fn packets_go_both_ways(when: When) -> anyhow::Result<()> {
    // Nothing of the host's is in the way, nor in theirs.
    unshare(CloneFlags::CLONE_NEWNET)?;
    let tap_fd = tap("tap0")?;
    configure("tap0", HOST)?;
    let echo = UdpSocket::bind((HOST, PING_PORT))?;
    let listener = TcpListener::bind((HOST, STREAM_PORT))?;
    let config = NetConfig {
        mac: "02:00:00:00:00:01".into(),
        mtu: 1450,
    };
    let mut machine = match when {
        When::AtStart => {
            let nets = vec![(config, tap_fd)];
            let disks = Vec::new();
            Machine::start(
                "network",
                Devices {
                    nets,
                    disks,
                    ..Devices::default()
                },
            )?
        }
        When::Later => {
            let mut machine = Machine::start("plugged-network", Devices::default())?;
            ensure!(machine.line()? == "attach");
            let slot = machine.attach(Pluggable::Net(config), tap_fd)?;
            ensure!(slot == guest::FIRST_FREE, "{slot}");
            machine
        }
    };
    let pings = thread::spawn(move || answer_pings(&echo));
    let stream = thread::spawn(move || serve_stream(&listener));

    ensure!(machine.line()? == "eth0 02:00:00:00:00:01 1450 1");
    // The time that a ping takes.
    machine.line()?;
    packets_wait_while_the_machine_is_paused(&machine)?;
    for _ in ["sent", "received"] {
        machine.line()?;
    }
    ensure!(machine.line()? == "done");
    machine.finish()?;
    for server in [pings, stream] {
        server
            .join()
            .map_err(|_| anyhow::anyhow!("a server panicked"))??;
    }
    Ok(())
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

/// Packets that the VMM has read from the tap (proc_pid_net(5), `dev`: the tenth
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
    for _ in 0..PINGS {
        let mut ping = [0; 8];
        let (length, from) = socket.recv_from(&mut ping)?;
        socket.send_to(ping.get(..length).unwrap_or_default(), from)?;
    }
    Ok(())
}

fn serve_stream(listener: &TcpListener) -> anyhow::Result<()> {
    let (mut stream, _) = listener.accept()?;
    check(&mut stream, BYTES)?;
    stream.write_all(&[1])?;
    send(&mut stream, BYTES)
}
