//! A guest that comes to know more files than the device may have open.

use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use command_fds::{CommandFdExt, FdMapping};

use crate::front_end::FrontEnd;
use crate::fuse::{self, ROOT, names, request, words};
use crate::share::Share;

/// Of the device; 640 of them are its own.
const LIMIT: usize = 2000;
/// Bytes of room for a reply.
const ROOM: u32 = 4096;

/// The device under a limit that it cannot raise.
fn limited(share: &Share, relief: UnixStream) -> anyhow::Result<(std::process::Child, FrontEnd)> {
    let socket = share.beside("device.sock");
    let listener = UnixListener::bind(&socket)?;
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-sys_resource", "prlimit"])
        .arg(format!("--nofile={LIMIT}"))
        .arg(env!("CARGO_BIN_EXE_kata-mshv-fs"))
        .args(["--listen-fd", "3", "--relief-fd", "4", "--share"])
        .arg(share.path());
    let passed = |parent_fd, child_fd| FdMapping {
        parent_fd,
        child_fd,
    };
    command.fd_mappings(vec![passed(listener.into(), 3), passed(relief.into(), 4)])?;
    let device = command.spawn()?;
    let mut front_end = FrontEnd::connect(&socket)?;
    front_end.ask(&fuse::init(), ROOM)?;
    Ok((device, front_end))
}

fn look_up(front_end: &mut FrontEnd, number: usize) -> anyhow::Result<(i32, u64)> {
    let name = number.to_string();
    let reply = front_end.ask(&request(fuse::LOOKUP, ROOT, &names(&[&name])), ROOM)?;
    let reply = reply.unwrap_or_default();
    Ok((fuse::error(&reply), fuse::node(&reply)))
}

#[test]
fn relief_is_asked_for_before_descriptors_run_out() -> anyhow::Result<()> {
    let share = Share::new()?;
    for number in 0..2 * LIMIT {
        fs::write(share.path().join(number.to_string()), "")?;
    }
    let (mut parent, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    let (mut device, mut front_end) = limited(&share, theirs)?;
    let mut asked = |within| -> anyhow::Result<bool> {
        parent.set_read_timeout(Some(within))?;
        Ok(parent.read(&mut [0; 64]).is_ok_and(|length| length > 0))
    };
    let mut known = Vec::new();
    for number in 0..LIMIT / 2 - 100 {
        let (error, node) = look_up(&mut front_end, number)?;
        ensure!(error == 0, "file {number}: {error}");
        known.push(node);
    }
    ensure!(!asked(Duration::from_millis(200))?, "asked too early");
    for number in known.len()..LIMIT / 2 + 100 {
        known.push(look_up(&mut front_end, number)?.1);
    }
    ensure!(asked(Duration::from_secs(10))?, "not asked");
    // What the guest then does.
    for node in known {
        let once = 1u64.to_le_bytes();
        front_end.ask(&request(fuse::FORGET, node, &once), ROOM)?;
    }
    for number in 0..LIMIT / 2 - 100 {
        ensure!(
            look_up(&mut front_end, LIMIT + number)?.0 == 0,
            "file {number}"
        );
    }
    // One that does not runs into the limit, and the device lives.
    let last = (0..LIMIT).map(|number| look_up(&mut front_end, number));
    let errors: Vec<_> = last.filter_map(|answer| Some(answer.ok()?.0)).collect();
    ensure!(errors.contains(&libc::ENFILE), "{errors:?}");
    let answer = front_end.ask(&request(fuse::GETATTR, ROOT, &words(&[0, 0, 0, 0])), ROOM)?;
    ensure!(answer.is_some_and(|reply| fuse::error(&reply) == 0));
    drop(front_end);
    ensure!(device.wait()?.success());
    Ok(())
}
