//! Figures. They fail only when they are hopeless: the machine may be busy.

use crate::cases::Outcome;
use crate::dial;
use crate::shim::Shim;
use anyhow::ensure;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

const TOTAL: usize = 256 << 20;
const PINGS: usize = 3000;

fn send(mut stream: &UnixStream) -> Outcome {
    let chunk = vec![1; 1 << 18];
    for _ in 0..TOTAL / chunk.len() {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    ensure!(stream.read(&mut [0])? == 0, "no end");
    Ok(String::new())
}

fn take(mut stream: &UnixStream) -> Outcome {
    let mut chunk = vec![0; 1 << 18];
    let mut total = stream.read(&mut chunk)?;
    let start = Instant::now();
    while let count @ 1.. = stream.read(&mut chunk)? {
        total += count;
    }
    ensure!(total == TOTAL, "{total} octets");
    let seconds = start.elapsed().as_secs_f64();
    ensure!(seconds < 60.0, "took {seconds} s");
    Ok(format!("{:.0} MB/s", TOTAL as f64 / 1e6 / seconds))
}

pub(crate) fn guest_sends() -> Outcome {
    send(&dial::stream()?)
}

pub(crate) fn host_takes(shim: &Shim) -> Outcome {
    measured(shim, take)
}

/// A half with the processor time that the device spent meanwhile.
fn measured(shim: &Shim, half: impl Fn(&UnixStream) -> Outcome) -> Outcome {
    let before = shim.cpu_ticks()?;
    let figure = half(&shim.accept()?.stream)?;
    let millis = (shim.cpu_ticks()? - before) * 10;
    Ok(format!("{figure} (device: {millis} ms of processor time)"))
}

pub(crate) fn guest_takes() -> Outcome {
    take(&dial::stream()?)
}

pub(crate) fn host_sends(shim: &Shim) -> Outcome {
    measured(shim, send)
}

pub(crate) fn guest_pings() -> Outcome {
    let mut stream = dial::stream()?;
    let mut micros: Vec<u128> = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let start = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    let at = |percent: usize| micros[PINGS * percent / 100];
    ensure!(at(50) < 20_000, "median of {} us", at(50));
    Ok(format!(
        "round trip {} us at best, {} median, {} at 99 %",
        micros[0],
        at(50),
        at(99)
    ))
}

pub(crate) fn host_pongs(shim: &Shim) -> Outcome {
    measured(shim, |mut stream| {
        for _ in 0..PINGS {
            let mut octet = [0];
            stream.read_exact(&mut octet)?;
            stream.write_all(&octet)?;
        }
        Ok(String::new())
    })
}
