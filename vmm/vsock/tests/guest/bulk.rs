//! Much data, and data in uncomfortable portions.

use crate::cases::Outcome;
use crate::dial;
use crate::pattern::{Pattern, check_all};
use crate::shim::Shim;
use anyhow::{Context, ensure};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const BULK: usize = 100 << 20;

/// Sizes around those of packets, windows and socket buffers.
const LARGE: [usize; 8] = [1, 4095, 65_535, 65_536, 65_537, 262_144, 262_145, 3 << 20];

/// One write each: a guest splits it into packets of up to 64 KiB, whose
/// payload takes more than one descriptor.
fn large_writes(stream: &mut UnixStream) -> Outcome {
    let whole: Vec<u8> = (0..LARGE[7]).map(|i| i.to_le_bytes()[1] ^ 0x5a).collect();
    for size in LARGE {
        stream
            .write_all(&whole[..size])
            .with_context(|| format!("write of {size}"))?;
        let mut back = vec![0; size];
        stream
            .read_exact(&mut back)
            .with_context(|| format!("read of {size}"))?;
        ensure!(back == whole[..size], "{size} octets came back different");
    }
    Ok(String::new())
}

pub(crate) fn guest_large_writes() -> Outcome {
    large_writes(&mut dial::stream()?)
}

pub(crate) fn host_large_writes(shim: &Shim) -> Outcome {
    let mut stream = shim.accept()?.stream;
    for size in LARGE {
        let mut bytes = vec![0; size];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
    }
    Ok(String::new())
}

fn send_all(stream: &UnixStream, total: usize, chunk: usize) -> anyhow::Result<()> {
    Pattern::new().send(stream, total, chunk)?;
    Ok(stream.shutdown(Shutdown::Write)?)
}

pub(crate) fn guest_sends() -> Outcome {
    let stream = dial::stream()?;
    send_all(&stream, BULK, 1 << 16)?;
    check_all(&stream, 0)?;
    Ok(String::new())
}

pub(crate) fn host_takes(shim: &Shim) -> Outcome {
    let stream = shim.accept()?.stream;
    check_all(&stream, BULK)?;
    Ok(String::new())
}

pub(crate) fn guest_takes() -> Outcome {
    let stream = dial::stream()?;
    check_all(&stream, BULK)?;
    Ok(String::new())
}

pub(crate) fn host_sends(shim: &Shim) -> Outcome {
    let stream = shim.accept()?.stream;
    send_all(&stream, BULK, 1 << 16)?;
    check_all(&stream, 0)?;
    Ok(String::new())
}

fn both_ways(stream: &UnixStream, total: usize) -> Outcome {
    thread::scope(|scope| {
        let sender = scope.spawn(|| send_all(stream, total, 50_000));
        check_all(stream, total)?;
        sender.join().expect("the sender panicked")
    })?;
    Ok(String::new())
}

pub(crate) fn guest_both_ways() -> Outcome {
    both_ways(&dial::stream()?, BULK)
}

pub(crate) fn host_both_ways(shim: &Shim) -> Outcome {
    both_ways(&shim.accept()?.stream, BULK)
}

const SMALL_WRITES: usize = 20_000;
const SMALL: usize = 37;

/// A guest that reads late has many small packets waiting.
pub(crate) fn guest_takes_late() -> Outcome {
    let stream = dial::stream()?;
    thread::sleep(Duration::from_millis(500));
    check_all(&stream, SMALL_WRITES * SMALL)?;
    Ok(String::new())
}

pub(crate) fn host_sends_small(shim: &Shim) -> Outcome {
    let stream = shim.accept()?.stream;
    send_all(&stream, SMALL_WRITES * SMALL, SMALL)?;
    check_all(&stream, 0)?;
    Ok(String::new())
}
