//! QEMU's monitor, and what the machine can do while connections are open.

use crate::cases::Outcome;
use crate::dial;
use crate::pattern::{Pattern, check_all};
use crate::shim::Shim;
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection to the monitor, ready for commands.
struct Monitor {
    commands: UnixStream,
    answers: Lines<BufReader<UnixStream>>,
}

impl Monitor {
    fn connect(path: &Path) -> anyhow::Result<Self> {
        let commands = UnixStream::connect(path).context("connecting to QEMU's monitor")?;
        let answers = BufReader::new(commands.try_clone()?).lines();
        let mut monitor = Self { commands, answers };
        monitor.execute(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    fn execute(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}")?;
        loop {
            let answer = self.answers.next().context("QEMU is gone")??;
            if answer.starts_with(r#"{"return""#) {
                return Ok(());
            }
            if answer.starts_with(r#"{"error""#) {
                bail!("{command} gave {answer}");
            }
        }
    }
}

const MUCH: usize = 20 << 20;

/// Streams that go on while the machine does something.
fn carries_on() -> Outcome {
    let stream = dial::stream()?;
    let sender = stream.try_clone()?;
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| Pattern::new().send(&sender, MUCH, 10_000));
        check_all(&stream, MUCH)?;
        sent.join().expect("the sender panicked")
    })?;
    Ok(String::new())
}

fn meanwhile(shim: &Shim, action: impl FnOnce(&mut Monitor) -> anyhow::Result<()>) -> Outcome {
    let mut monitor = Monitor::connect(&shim.monitor)?;
    let stream = shim.accept()?.stream;
    let (mut outgoing, mut incoming) = (Pattern::new(), Pattern::new());
    incoming.check(&stream, MUCH / 4)?;
    outgoing.send(&stream, MUCH / 4, 10_000)?;
    action(&mut monitor)?;
    let rest = MUCH - MUCH / 4;
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| outgoing.send(&stream, rest, 10_000));
        incoming.check(&stream, rest)?;
        sent.join().expect("the sender panicked")
    })?;
    stream.shutdown(Shutdown::Write)?;
    Ok(String::new())
}

pub(crate) fn guest_is_paused() -> Outcome {
    carries_on()
}

/// While the machine is stopped, its queues are taken from the device.
pub(crate) fn host_pauses(shim: &Shim) -> Outcome {
    meanwhile(shim, |monitor| {
        for _ in 0..3 {
            monitor.execute(r#"{"execute":"stop"}"#)?;
            std::thread::sleep(Duration::from_millis(100));
            monitor.execute(r#"{"execute":"cont"}"#)?;
        }
        Ok(())
    })
}

pub(crate) fn guest_grows() -> Outcome {
    carries_on()
}

/// The device is told of memory that was not there before.
pub(crate) fn host_adds_memory(shim: &Shim) -> Outcome {
    meanwhile(shim, |monitor| {
        monitor.execute(
            r#"{"execute":"object-add","arguments":{"qom-type":"memory-backend-memfd","id":"more","size":268435456,"share":true}}"#,
        )?;
        monitor.execute(
            r#"{"execute":"device_add","arguments":{"driver":"pc-dimm","id":"dimm","memdev":"more"}}"#,
        )
    })
}
