//! A guest that breaks the rules: it may spoil its own file server, and nothing
//! else.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

use anyhow::{Context, ensure};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::front_end::{EVENT_IDX, FrontEnd};
use crate::fuse::{self, ROOT, names, request, words};
use crate::process::{self, Device};
use crate::share::Share;

const ROOM: u32 = 4096;

/// A guest may cause log lines, at a bounded rate.
#[test]
fn the_log_cannot_be_flooded() -> anyhow::Result<()> {
    let share = Share::new()?;
    let socket = share.beside("device.sock");
    let mut command = process::command(&share.path(), &socket)?;
    let command = command.args(["--log-level", "trace"]);
    let device = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut front_end = FrontEnd::connect(&socket)?;
    // Not one of the features that the server would like: it complains.
    for _ in 0..2_000 {
        asked(&mut front_end, &fuse::init())?;
    }
    drop(front_end);
    let output = device.wait_with_output()?;
    ensure!(output.status.success() && output.stdout.is_empty());
    let lines = output.stderr.split(|byte| *byte == b'\n').count();
    ensure!((2..100).contains(&lines), "{lines} lines");
    Ok(())
}

fn started(share: &Share) -> anyhow::Result<(Device, FrontEnd)> {
    let device = Device::start(share, &["--log-level", "off"])?;
    let mut front_end = FrontEnd::connect(device.socket())?;
    let reply = asked(&mut front_end, &fuse::init())?;
    ensure!(fuse::error(&reply) == 0, "INIT failed");
    Ok((device, front_end))
}

fn asked(front_end: &mut FrontEnd, message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let reply = front_end.ask(message, ROOM)?;
    reply.context("the device ended")
}

#[test]
fn no_name_leads_out_of_the_share() -> anyhow::Result<()> {
    let share = Share::new()?;
    let outside = share.beside("outside");
    symlink(&outside, share.path().join("link"))?;
    symlink("../outside", share.path().join("up"))?;
    let beyond: Vec<u64> = [
        outside.clone(),
        outside.join("inside"),
        "/".into(),
        "/etc".into(),
    ]
    .iter()
    .map(|path| Ok(fs::metadata(path)?.ino()))
    .collect::<anyhow::Result<_>>()?;
    let (_device, mut front_end) = started(&share)?;
    for name in [
        "..",
        "../..",
        "../outside",
        "../outside/inside",
        "link/inside",
        "up/inside",
        "./link/inside",
        "/etc",
        "/",
        "",
        "link/../outside",
    ] {
        let reply = asked(
            &mut front_end,
            &request(fuse::LOOKUP, ROOT, &names(&[name])),
        )?;
        let escaped = fuse::error(&reply) == 0 && beyond.contains(&fuse::inode(&reply));
        ensure!(!escaped, "{name:?} led outside");
    }
    Ok(())
}

#[test]
fn nothing_is_made_moved_or_removed_outside() -> anyhow::Result<()> {
    let share = Share::new()?;
    symlink(share.beside("outside"), share.path().join("link"))?;
    let (_device, mut front_end) = started(&share)?;
    let mode = words(&[0o755, 0]);
    let target = names(&["link/inside", "stolen"]);
    let requests = [
        (fuse::MKDIR, [mode.clone(), names(&["../escaped"])].concat()),
        (fuse::MKDIR, [mode, names(&["link/escaped"])].concat()),
        (fuse::SYMLINK, names(&["../outside/escaped", "/"])),
        (fuse::UNLINK, names(&["../outside/inside"])),
        (fuse::UNLINK, names(&["link/inside"])),
        (fuse::RENAME, [ROOT.to_le_bytes().to_vec(), target].concat()),
    ];
    for (operation, body) in requests {
        asked(&mut front_end, &request(operation, ROOT, &body))?;
    }
    ensure!(outside_is_whole(&share)?, "the host's files were changed");
    Ok(())
}

/// What `Share::new` put beside the share, and nothing more.
fn outside_is_whole(share: &Share) -> anyhow::Result<bool> {
    let kept = fs::read_to_string(share.beside("outside/inside"))? == "mounted later\n";
    let entries = fs::read_dir(share.beside("outside"))?.count();
    Ok(kept && entries == 1 && !share.beside("escaped").exists())
}

#[test]
fn a_device_node_is_not_opened_on_the_host() -> anyhow::Result<()> {
    const CHARACTER_DEVICE: u32 = 0o020_666;
    const DEV_NULL: u32 = (1 << 8) | 3;
    let share = Share::new()?;
    let (_device, mut front_end) = started(&share)?;
    let body = [words(&[CHARACTER_DEVICE, DEV_NULL, 0, 0]), names(&["null"])].concat();
    let made = asked(&mut front_end, &request(fuse::MKNOD, ROOT, &body))?;
    ensure!(fuse::error(&made) == 0, "MKNOD failed");
    let open = request(fuse::OPEN, fuse::node(&made), &words(&[0, 0]));
    let opened = asked(&mut front_end, &open)?;
    ensure!(fuse::error(&opened) != 0, "the device was opened");
    Ok(())
}

#[test]
fn sizes_are_not_taken_at_their_word() -> anyhow::Result<()> {
    let share = Share::new()?;
    let (_device, mut front_end) = started(&share)?;
    let opened = asked(
        &mut front_end,
        &request(fuse::OPENDIR, ROOT, &words(&[0, 0])),
    )?;
    let handle = fuse::handle(&opened).to_le_bytes().to_vec();
    let whole = words(&[0, 0, u32::MAX, 0, 0, 0, 0, 0]);
    let list = request(fuse::READDIR, ROOT, &[handle, whole].concat());
    asked(&mut front_end, &list)?;
    let attribute = [words(&[u32::MAX, 0]), names(&["user.x"])].concat();
    asked(&mut front_end, &request(fuse::GETXATTR, ROOT, &attribute))?;
    let forget = words(&[u32::MAX, 0]);
    asked(&mut front_end, &request(fuse::BATCH_FORGET, ROOT, &forget))?;
    let root = u64::MAX.to_le_bytes();
    asked(&mut front_end, &request(fuse::FORGET, ROOT, &root))?;
    asked(&mut front_end, &request(fuse::GETATTR, ROOT, &[0; 16]))?;
    Ok(())
}

#[test]
fn a_header_that_lies_ends_the_device_and_no_more() -> anyhow::Result<()> {
    let share = Share::new()?;
    let (device, mut front_end) = started(&share)?;
    let mut message = request(fuse::LOOKUP, ROOT, &names(&["x"]));
    message[..4].copy_from_slice(&3u32.to_le_bytes());
    let reply = front_end.ask(&message, ROOM)?;
    ensure!(reply.is_none(), "{reply:?}");
    ensure!(device.status()?.code() == Some(1));
    Ok(())
}

#[test]
fn a_ring_that_makes_no_sense_ends_the_device_and_no_more() -> anyhow::Result<()> {
    for features in [EVENT_IDX, 0] {
        for threads in ["0", "1"] {
            let share = Share::new()?;
            let options = ["--log-level", "off", "--threads", threads];
            let device = Device::start(&share, &options)?;
            let mut front_end = FrontEnd::connect_with(device.socket(), features)?;
            asked(&mut front_end, &fuse::init())?;
            ensure!(!front_end.overfill()?, "it was answered");
            ensure!(device.status()?.code() == Some(1));
        }
    }
    Ok(())
}

/// A driver that forgets all it knew, again and again.
#[test]
fn a_reset_lets_go_of_what_the_guest_knew() -> anyhow::Result<()> {
    let share = Share::new()?;
    let names = ["a", "b", "c"];
    for name in names {
        fs::write(share.path().join(name), "")?;
    }
    let (device, mut front_end) = started(&share)?;
    let open = || anyhow::Ok(fs::read_dir(device.proc("fd"))?.count());
    let before = open()?;
    for _ in 0..3 {
        let mut known = Vec::new();
        for name in names {
            let look_up = request(fuse::LOOKUP, ROOT, &fuse::names(&[name]));
            known.push(fuse::node(&asked(&mut front_end, &look_up)?));
        }
        ensure!(open()? == before + names.len());
        front_end.reset()?;
        asked(&mut front_end, &fuse::init())?;
        ensure!(open()? == before);
        for node in known {
            let reply = asked(&mut front_end, &request(fuse::GETATTR, node, &[0; 16]))?;
            ensure!(fuse::error(&reply) != 0, "node {node} is known");
        }
    }
    Ok(())
}

/// What writes are noted in, and what prepares to move a machine.
#[test]
fn nothing_is_offered_that_the_device_does_not_do() -> anyhow::Result<()> {
    const LOG_ALL: u64 = 1 << 26;
    let share = Share::new()?;
    let device = Device::start(&share, &[])?;
    let front_end = FrontEnd::connect(device.socket())?;
    ensure!(front_end.offered()? & LOG_ALL == 0);
    drop(front_end);
    device.ends()
}

/// Any bytes under a header that is right enough to be read.
fn messages() -> impl Strategy<Value = Vec<(u32, u64, Vec<u8>)>> {
    let node = prop_oneof![3 => Just(ROOT), 1 => 2..6u64, 1 => any::<u64>()];
    let name = "[a-z./]{0,9}\0[a-z./]{0,9}\0";
    let body = prop_oneof![
        any::<Vec<u8>>(),
        (any::<[u32; 2]>(), name).prop_map(|(w, n)| [words(&w), n.into_bytes()].concat()),
        name.prop_map(String::into_bytes),
    ];
    proptest::collection::vec((0..60u32, node, body), 1..24)
}

#[test]
fn any_message_is_answered_or_ends_the_device_in_order() -> anyhow::Result<()> {
    let share = Share::new()?;
    let mut runner = TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    runner.run(&messages(), |messages| {
        survives(&share, &messages).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    })?;
    Ok(())
}

/// The device ends by itself at worst: not by a signal, and so neither by a
/// system call that its filter lacks, nor by a panic.
fn survives(share: &Share, messages: &[(u32, u64, Vec<u8>)]) -> anyhow::Result<()> {
    let (device, mut front_end) = started(share)?;
    for (operation, node, body) in messages {
        if front_end
            .ask(&request(*operation, *node, body), ROOM)?
            .is_none()
        {
            break;
        }
    }
    drop(front_end);
    let status = device.status()?;
    ensure!(
        matches!(status.code(), Some(0 | 1)),
        "it ended with {status}"
    );
    ensure!(outside_is_whole(share)?, "the host's files were changed");
    Ok(())
}
