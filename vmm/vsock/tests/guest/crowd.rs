//! Several connections at a time, well-behaved or not.

use crate::cases::Outcome;
use crate::dial;
use crate::pattern::{Pattern, check_all};
use crate::shim::Shim;
use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

fn ping(stream: &mut UnixStream, token: u8) -> anyhow::Result<()> {
    stream.write_all(&[token])?;
    let mut back = [0];
    stream.read_exact(&mut back)?;
    ensure!(back == [token], "{back:?} for {token}");
    Ok(())
}

fn pong(stream: &mut UnixStream) -> anyhow::Result<()> {
    let mut token = [0];
    stream.read_exact(&mut token)?;
    Ok(stream.write_all(&token)?)
}

/// Writes until nothing more is taken. How much was.
fn fill(stream: &UnixStream) -> anyhow::Result<usize> {
    stream.set_nonblocking(true)?;
    let mut pattern = Pattern::new();
    let mut idle = 0;
    // Buffers on the way empty with a delay.
    while idle < 20 {
        let mut to = stream;
        match to.write(pattern.peek(1 << 16)) {
            Ok(count) => {
                pattern.skip(count);
                idle = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => return Err(error).context("filling"),
        }
        ensure!(pattern.position() < 16 << 20, "no end to what it takes");
    }
    stream.set_nonblocking(false)?;
    Ok(pattern.position())
}

/// Fills one connection that is not read, and uses another meanwhile.
fn beside_stalled(
    mut stalled: UnixStream,
    mut other: UnixStream,
    meanwhile: impl Fn() -> anyhow::Result<()>,
) -> Outcome {
    let filled = fill(&stalled)?;
    meanwhile()?;
    ping(&mut other, 1)?;
    other.write_all(&u64::try_from(filled)?.to_le_bytes())?;
    stalled.shutdown(std::net::Shutdown::Write)?;
    ensure!(stalled.read(&mut [0])? == 0, "no end");
    Ok(format!("{} KiB on the way", filled >> 10))
}

fn stall(
    stalled: UnixStream,
    mut other: UnixStream,
    meanwhile: impl Fn() -> anyhow::Result<()>,
) -> Outcome {
    pong(&mut other)?;
    let mut filled = [0; 8];
    other.read_exact(&mut filled)?;
    meanwhile()?;
    check_all(&stalled, usize::try_from(u64::from_le_bytes(filled))?)?;
    Ok(String::new())
}

pub(crate) fn guest_beside_stalled_host() -> Outcome {
    let stalled = dial::stream()?;
    beside_stalled(stalled, dial::stream()?, || Ok(()))
}

pub(crate) fn host_stalls(shim: &Shim) -> Outcome {
    let stalled = shim.accept()?.stream;
    stall(stalled, shim.accept()?.stream, || shim.ensure_idle())
}

pub(crate) fn guest_stalls() -> Outcome {
    let stalled = dial::stream()?;
    stall(stalled, dial::stream()?, || Ok(()))
}

pub(crate) fn host_beside_stalled_guest(shim: &Shim) -> Outcome {
    let stalled = shim.accept()?.stream;
    beside_stalled(stalled, shim.accept()?.stream, || shim.ensure_idle())
}

pub(crate) fn guest_two_hundred() -> Outcome {
    let mut streams = (0..200)
        .map(|_| dial::stream())
        .collect::<Result<Vec<_>, _>>()?;
    for (token, stream) in (0..=255).cycle().zip(&mut streams) {
        ping(stream, token)?;
    }
    for (token, stream) in (0..=255).cycle().zip(streams.iter_mut().rev()) {
        ping(stream, token)?;
    }
    Ok(String::new())
}

pub(crate) fn host_two_hundred(shim: &Shim) -> Outcome {
    let mut streams = shim.accept_many(200)?;
    streams.iter_mut().try_for_each(pong)?;
    streams.iter_mut().rev().try_for_each(pong)?;
    Ok(String::new())
}

const CHURN: usize = 2000;

/// Connections that live briefly and end in turn by either side.
pub(crate) fn guest_churns() -> Outcome {
    for round in 0..CHURN {
        let mut stream = dial::stream().with_context(|| format!("connection {round}"))?;
        ping(&mut stream, 5).with_context(|| format!("connection {round}"))?;
        if round % 2 == 0 {
            ensure!(stream.read(&mut [0])? == 0, "no end");
        }
    }
    Ok(String::new())
}

pub(crate) fn host_churns(shim: &Shim) -> Outcome {
    for round in 0..CHURN {
        let mut stream = shim.accept()?.stream;
        pong(&mut stream)?;
        if round % 2 == 1 {
            ensure!(stream.read(&mut [0])? == 0, "no end");
        }
    }
    Ok(String::new())
}

/// All there may be, one of which is the control connection.
const MOST: usize = 1024;

pub(crate) fn guest_fills_up() -> Outcome {
    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096)?;
    for round in 0..2 {
        let mut streams = Vec::new();
        let refused = loop {
            match dial::try_stream() {
                Ok(socket) => streams.push(UnixStream::from(socket)),
                Err(error) => break error,
            }
            if streams.len() > MOST {
                bail!("no end to connections");
            }
        };
        ensure!(refused == Errno::ECONNRESET, "refused with {refused}");
        ensure!(
            streams.len() == MOST - 1,
            "round {round}: {} connections",
            streams.len()
        );
        streams.iter_mut().try_for_each(|stream| ping(stream, 9))?;
    }
    Ok(String::new())
}

pub(crate) fn host_fills_up(shim: &Shim) -> Outcome {
    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096)?;
    for _ in 0..2 {
        let mut streams = shim.accept_many(MOST - 1)?;
        streams.iter_mut().try_for_each(pong)?;
        for mut stream in streams {
            ensure!(stream.read(&mut [0])? == 0, "no end");
        }
    }
    Ok(String::new())
}
