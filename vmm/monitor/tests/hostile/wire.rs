//! The other end of a guest's interfaces: packets that nobody asked for.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use vmm_api::NetConfig;

use crate::interface;

/// Of each interface: networks of their own.
const TAPS: [(&str, Ipv4Addr); 2] = [
    ("tap0", Ipv4Addr::new(10, 0, 0, 1)),
    ("tap1", Ipv4Addr::new(11, 0, 0, 1)),
];

/// Has this thread, and those that it starts, no network but what it makes.
pub(crate) fn cut_off() -> anyhow::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}

pub(crate) fn config(vhost: bool) -> NetConfig {
    NetConfig {
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        queue_pairs: 1,
        vhost,
    }
}

pub(crate) fn tap(name: &str) -> anyhow::Result<OwnedFd> {
    interface::tap(name)
}

/// Sends to all that are on either, for as long as this process is there.
pub(crate) fn flood() -> anyhow::Result<()> {
    let mut ends = Vec::new();
    for (name, address) in TAPS {
        interface::configure(name, address)?;
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_broadcast(true)?;
        let [network, ..] = address.octets();
        ends.push((socket, Ipv4Addr::new(network, 255, 255, 255)));
    }
    thread::spawn(move || {
        loop {
            for (socket, everybody) in &ends {
                // The tap is full, or gone with its machine.
                let _ = socket.send_to(&[7; 1000], (*everybody, 9));
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    Ok(())
}
