//! A running lab.

use std::fmt;
use std::fs::File;
use std::time::{Duration, Instant};

use super::console::Console;
use super::process::{News, Process};
use super::qemu::{Order, path};
use super::{Error, Lab, Outcome};
use crate::message::{Event, Program, Request};

/// From QEMU's start to init's first word: less than a second, ten on a very
/// busy host.
const BOOT: Duration = Duration::from_secs(60);

/// Init ends a program by itself when its time is over; longer than this after
/// that, and it is the lab that hangs.
const GRACE: Duration = Duration::from_secs(20);

/// A running lab, which runs one program at a time. Dropping it ends it.
pub struct Machine {
    process: Process,
    console: Console,
    boot: BootTime,
}

/// How long a lab took to start.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootTime {
    /// From the start of QEMU to init.
    pub whole: Duration,
    /// Of that, from the kernel's first instruction on.
    pub kernel: Duration,
}

impl fmt::Display for BootTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whole, kernel } = self;
        write!(f, "{whole:.1?}, {kernel:.1?} of them in the kernel")
    }
}

impl Machine {
    /// `archive` has to be there until this returns.
    pub(super) fn boot(lab: &Lab, archive: &File) -> Result<Self, Error> {
        let begun = Instant::now();
        let console = Console::new().map_err(Error::Archive)?;
        let order = Order {
            kernel: lab.kernel.clone(),
            memory_mib: lab.memory_mib,
            host_files: lab.host_files,
            archive: path(archive),
            console: path(&console.guest),
            complaints: console.qemu.try_clone().map_err(Error::Archive)?,
        };
        let mut machine = Self {
            process: Process::start(order)?,
            console,
            boot: BootTime::default(),
        };
        let kernel = machine.ready()?;
        let whole = begun.elapsed();
        machine.boot = BootTime { whole, kernel };
        Ok(machine)
    }

    fn ready(&self) -> Result<Duration, Error> {
        match self.next(Instant::now() + BOOT)? {
            Some(Event::Ready { uptime }) => Ok(uptime),
            Some(other) => Err(self.senseless(&format!("{other:?}"))),
            None => Err(Error::NotReady {
                waited: BOOT,
                console: self.console(),
            }),
        }
    }

    /// How long the start took.
    #[must_use]
    pub fn boot_time(&self) -> BootTime {
        self.boot
    }

    /// Runs `program` to its end; `each` gets its output line by line.
    ///
    /// # Errors
    ///
    /// Those of the lab, after which it is of no use any more. A program that
    /// fails is no error.
    pub fn run(&mut self, program: &Program, each: &mut dyn FnMut(&str)) -> Result<Outcome, Error> {
        let request = Request::Run(program.clone());
        self.process.send(&request).map_err(Error::Send)?;
        let deadline = Instant::now() + program.timeout + GRACE;
        let mut output = String::new();
        loop {
            match self.next(deadline)? {
                Some(Event::Line(line)) => {
                    each(&line);
                    output.push_str(&line);
                    output.push('\n');
                }
                Some(Event::Ended(ending)) => return Ok(Outcome { ending, output }),
                Some(Event::Failed(reason)) => {
                    return Err(Error::NotRun {
                        program: program.path.clone(),
                        reason,
                    });
                }
                Some(Event::Ready { .. }) => return Err(self.senseless("init, again")),
                None => return Err(self.hangs(program)),
            }
        }
    }

    /// The last lines of the lab's console and of QEMU's complaints.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.last_words()
    }

    /// What init says next, or nothing until `deadline`.
    fn next(&self, deadline: Instant) -> Result<Option<Event>, Error> {
        match self.process.next(deadline) {
            News::Said(event) => Ok(Some(event)),
            News::Silence => Ok(None),
            News::Garbage(text) => Err(self.senseless(&text)),
            News::Gone(Ok(status)) => Err(Error::Died {
                status,
                console: self.console(),
            }),
            News::Gone(Err(error)) => Err(Error::Wait(error)),
        }
    }

    fn hangs(&self, program: &Program) -> Error {
        Error::Hangs {
            program: program.path.clone(),
            waited: program.timeout + GRACE,
            console: self.console(),
        }
    }

    /// Ended from here, as nothing it says makes sense any more.
    fn senseless(&self, words: &str) -> Error {
        match self.process.end() {
            Ok(_) => Error::Senseless {
                words: words.to_owned(),
                console: self.console(),
            },
            Err(error) => Error::Wait(error),
        }
    }
}
