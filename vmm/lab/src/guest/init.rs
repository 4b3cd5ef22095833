//! The first process: sets up what programs expect of a host, runs what it is
//! asked to, and ends the machine.

use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::time::{ClockId, clock_gettime};

use super::port::{Port, open};
use super::{loopback, mounts};
use crate::message::{Event, Request};
use crate::program::{Survivors, run as run_program};

pub(super) fn run() -> ! {
    if let Err(error) = serve() {
        // To the console, whose last lines the caller shows.
        eprintln!("lab: init cannot go on: {error}");
    }
    // QEMU is told not to start it again.
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => panic!("cannot restart: {error}"),
    }
}

fn serve() -> io::Result<()> {
    mounts::mount_all()?;
    loopback::up()?;
    let (requests, port) = open()?;
    port.say(&Event::Ready { uptime: uptime()? })?;
    for line in BufReader::new(requests).lines() {
        let Request::Run(program) = serde_json::from_str(&line?)?;
        let mut lost = Ok(());
        let ended = run_program(&program, Survivors::All, &mut |line| {
            if lost.is_ok() {
                lost = port.say(&Event::Line(line.to_owned()));
            }
        });
        lost?;
        port.say(&verdict(ended))?;
    }
    Ok(())
}

fn verdict(ended: io::Result<crate::Ending>) -> Event {
    match ended {
        Ok(ending) => Event::Ended(ending),
        Err(error) => Event::Failed(error.to_string()),
    }
}

fn uptime() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

impl Port {
    fn say(&self, event: &Event) -> io::Result<()> {
        self.write_line(&serde_json::to_string(event)?)
    }
}
