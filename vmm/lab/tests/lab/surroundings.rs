//! What programs find around them in a lab is what a host has.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::pivot_root;

pub(crate) fn files_arrive_whole() {
    let arrived = fs::read_to_string(lab::path("manifest")).unwrap();
    assert_eq!(arrived, include_str!("../../Cargo.toml"));
}

/// A root file system that can be left, as the VMM's and the device processes'
/// jails leave it.
pub(crate) fn jails_can_be_built() {
    let nothing = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET).unwrap();
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .unwrap();
    mount(
        Some("tmpfs"),
        "/tmp",
        Some("tmpfs"),
        MsFlags::empty(),
        nothing,
    )
    .unwrap();
    std::env::set_current_dir("/tmp").unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", nix::mount::MntFlags::MNT_DETACH).unwrap();
    std::env::set_current_dir("/").unwrap();
    assert_eq!(fs::read_dir("/").unwrap().count(), 0);
}

/// cgroup v2 with all its controllers; hosts of the other kind exist.
pub(crate) fn cgroups_limit() {
    if !lab::inside() {
        return;
    }
    let group = "/sys/fs/cgroup/limited";
    fs::create_dir(group).unwrap();
    for (file, value) in [
        ("cpu.max", "50000 100000"),
        ("memory.max", "33554432"),
        ("pids.max", "1"),
        ("cgroup.procs", "0"),
    ] {
        fs::write(format!("{group}/{file}"), value)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let refused = Command::new("/proc/self/exe")
        .spawn()
        .map(drop)
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock, "{refused}");
    fs::write("/sys/fs/cgroup/cgroup.procs", "0").unwrap();
    fs::remove_dir(group).unwrap();
}

pub(crate) fn networks_can_be_built() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"through lo").unwrap();
    drop(client);
    let mut received = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut received)
        .unwrap();
    assert_eq!(received, "through lo");
    if lab::inside() {
        assert!(probe::vhost_net());
        fs::File::open("/dev/net/tun").unwrap();
    }
}

/// Not the one of 4 ms that a kernel falls back to when it cannot tell the
/// rate of its time stamp counter.
pub(crate) fn the_clock_is_fine() {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    if lab::inside() {
        let current = fs::read_to_string(source).unwrap();
        assert!(current.starts_with("tsc"), "{current}");
    }
    let begun = std::time::Instant::now();
    std::thread::sleep(Duration::from_millis(1));
    let slept = begun.elapsed();
    assert!(slept >= Duration::from_millis(1), "{slept:?}");
}
