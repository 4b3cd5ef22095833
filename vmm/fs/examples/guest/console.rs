//! The line to the host: reports go out, and the host is asked for things.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

const PATH: &str = "/dev/ttyS0";

pub(crate) struct Console {
    input: BufReader<File>,
    output: File,
}

impl Console {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let input = File::open(PATH).context(PATH)?;
        let mut settings = tcgetattr(&input)?;
        cfmakeraw(&mut settings);
        tcsetattr(&input, SetArg::TCSANOW, &settings)?;
        Ok(Self {
            input: BufReader::new(input),
            output: OpenOptions::new().write(true).open(PATH)?,
        })
    }

    pub(crate) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        // Whatever the kernel printed before stays on a line of its own.
        write!(self.output, "\n{line}\n")?;
        Ok(())
    }

    /// Has the host do something and waits until it is done.
    pub(crate) fn ask(&mut self, request: &str) -> anyhow::Result<()> {
        self.say(&format!("ASK {request}"))?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        match answer.trim() {
            "DONE" => Ok(()),
            other => bail!("the host answered {other:?} to {request:?}"),
        }
    }

    pub(crate) fn measured(&mut self, what: &str, value: f64, unit: &str) -> anyhow::Result<()> {
        self.say(&format!("MEASURED {what}: {value:.0} {unit}"))
    }

    pub(crate) fn report(
        &mut self,
        name: &str,
        took: Duration,
        outcome: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match outcome {
            Ok(()) => self.say(&format!("PASS {name} ({} ms)", took.as_millis())),
            Err(error) => self.say(&format!("FAIL {name}: {error:#}")),
        }
    }
}
