//! The ways in which connections end.

use crate::cases::Outcome;
use crate::dial;
use crate::pattern::{Pattern, check_all};
use crate::shim::Shim;
use anyhow::{Context, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

/// More than all buffers on the way.
const MUCH: usize = 2 << 20;

fn ends_first(stream: &UnixStream) -> Outcome {
    Pattern::new().send(stream, MUCH, 1 << 16)?;
    stream.shutdown(Shutdown::Write)?;
    check_all(stream, MUCH)?;
    Ok(String::new())
}

fn ends_second(stream: &UnixStream) -> Outcome {
    check_all(stream, MUCH)?;
    Pattern::new().send(stream, MUCH, 1 << 16)?;
    Ok(String::new())
}

pub(crate) fn guest_ends_first() -> Outcome {
    ends_first(&dial::stream()?)
}

pub(crate) fn host_ends_second(shim: &Shim) -> Outcome {
    ends_second(&shim.accept()?.stream)
}

pub(crate) fn guest_ends_second() -> Outcome {
    ends_second(&dial::stream()?)
}

pub(crate) fn host_ends_first(shim: &Shim) -> Outcome {
    ends_first(&shim.accept()?.stream)
}

/// Writes until that fails, which it has to.
fn write_until_error(mut stream: &UnixStream) -> anyhow::Result<ErrorKind> {
    for _ in 0..1000 {
        if let Err(error) = stream.write(&[7; 65_536]) {
            return Ok(error.kind());
        }
    }
    anyhow::bail!("64 MiB were written to nobody")
}

fn is_hang_up(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// The host closes its end while the guest is writing: writing fails soon, and
/// what the host sent before can be read.
pub(crate) fn guest_is_left() -> Outcome {
    let stream = dial::stream()?;
    let kind = write_until_error(&stream)?;
    ensure!(is_hang_up(kind), "writing gave {kind:?}");
    check_all(&stream, 100_000)?;
    Ok(String::new())
}

pub(crate) fn host_leaves(shim: &Shim) -> Outcome {
    let mut stream = shim.accept()?.stream;
    Pattern::new().send(&stream, 100_000, 1 << 16)?;
    stream.read_exact(&mut [0; 1000])?;
    Ok(String::new())
}

/// The guest closes its end while the host is writing.
pub(crate) fn guest_leaves() -> Outcome {
    let mut stream = dial::stream()?;
    Pattern::new().send(&stream, 100_000, 1 << 16)?;
    stream.read_exact(&mut [0; 1000])?;
    Ok(String::new())
}

pub(crate) fn host_is_left(shim: &Shim) -> Outcome {
    let mut stream = shim.accept()?.stream;
    let kind = write_until_error(&stream)?;
    ensure!(is_hang_up(kind), "writing gave {kind:?}");
    Pattern::new().check(&stream, 100_000)?;
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if is_hang_up(error.kind()) => {}
        other => anyhow::bail!("behind the data is {other:?}"),
    }
    Ok(String::new())
}

/// What a guest sent right before closing arrives, although the host is slow.
pub(crate) fn guest_says_last_words() -> Outcome {
    let stream = dial::stream()?;
    Pattern::new().send(&stream, 400_000, 1 << 16)?;
    drop(stream);
    Ok(String::new())
}

pub(crate) fn host_hears_last_words(shim: &Shim) -> Outcome {
    let stream = shim.accept()?.stream;
    std::thread::sleep(std::time::Duration::from_millis(300));
    check_all(&stream, 400_000).context("after the guest closed")?;
    Ok(String::new())
}
