//! Where cases run.

use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;

use super::suite::{Suite, place_of};
use crate::host::{Error, Lab, Machine, Outcome};
use crate::message::Program;
use crate::program::{Survivors, run};

/// Says where, whatever the host has: `here` or `lab`.
const CHOICE: &str = "KATA_MSHV_TEST_PLACE";

/// Whether what needs a true `/dev/kvm` has to go to a lab for it.
#[must_use]
pub fn needed() -> bool {
    match std::env::var(CHOICE).as_deref() {
        Ok("here") => false,
        Ok("lab") => true,
        _ => probe::kvm().is_err(),
    }
}

pub(super) enum Place {
    /// `/dev/kvm` of this host is a true one.
    Here,
    /// One machine for all cases, started by the first.
    Lab(Mutex<State>),
}

pub(super) enum State {
    /// Not started, or ended by a case that took it along.
    Off(Lab),
    On(Lab, Box<Machine>),
    /// It does not start, and each case is told why.
    Broken(String),
}

impl Place {
    pub(super) fn choose(suite: &Suite) -> Self {
        if !needed() {
            return Self::Here;
        }
        let mut lab = Lab::new();
        if let Some(memory_mib) = suite.memory_mib {
            lab = lab.memory_mib(memory_mib);
        }
        for (name, host) in &suite.files {
            lab = lab.file(host, place_of(name), 0o755);
        }
        Self::Lab(Mutex::new(State::Off(lab)))
    }

    pub(super) fn is_lab(&self) -> bool {
        matches!(self, Self::Lab(_))
    }

    /// Path of this program there.
    pub(super) fn own_path(&self) -> &'static str {
        match self {
            Self::Here => "/proc/self/exe",
            Self::Lab(_) => "/init",
        }
    }

    pub(super) fn run(
        &self,
        program: &Program,
        each: &mut dyn FnMut(&str),
    ) -> Result<Outcome, Failed> {
        match self {
            Self::Here => here(program, each),
            Self::Lab(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.run(program, each)
            }
        }
    }

    /// Ends the lab: statics and leaked values are not dropped.
    pub(super) fn close(&self) {
        if let Self::Lab(state) = self {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = State::Broken("closed".to_owned());
        }
    }
}

fn here(program: &Program, each: &mut dyn FnMut(&str)) -> Result<Outcome, Failed> {
    let mut output = String::new();
    let ending = run(program, Survivors::Group, &mut |line| {
        each(line);
        output.push_str(line);
        output.push('\n');
    })?;
    Ok(Outcome { ending, output })
}

impl State {
    fn run(&mut self, program: &Program, each: &mut dyn FnMut(&str)) -> Result<Outcome, Failed> {
        self.start()?;
        let Self::On(lab, machine) = self else {
            unreachable!("it was started");
        };
        let lab = lab.clone();
        machine.run(program, each).map_err(|error| {
            // The next case gets a new one.
            *self = Self::Off(lab);
            chain(&error).into()
        })
    }

    fn start(&mut self) -> Result<(), Failed> {
        let Self::Off(lab) = self else {
            return match self {
                Self::Broken(why) => Err(why.as_str().into()),
                _ => Ok(()),
            };
        };
        match lab.start() {
            Ok(machine) => {
                eprintln!("lab: ready after {}", machine.boot_time());
                *self = Self::On(lab.clone(), Box::new(machine));
                Ok(())
            }
            Err(error) => {
                let why = chain(&error);
                *self = Self::Broken(why.clone());
                Err(why.into())
            }
        }
    }
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next;
    }
    text
}
