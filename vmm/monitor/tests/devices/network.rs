//! A tap between the guest and this process.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;

use anyhow::ensure;
use nix::sched::{CloneFlags, unshare};
use vmm_api::{NetConfig, Pluggable};

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
    for _ in ["ping", "sent", "received"] {
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
