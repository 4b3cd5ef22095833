//! The list of cases as a test program.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

use super::Case;
use super::place::Place;
use crate::guest::{enter, inside};
use crate::message::{Ending, Program};

/// The first argument that makes this program run one case, named by the next.
const RUN: &str = "--run-lab-case";

/// Where a suite's files are in a lab.
const FILES: &str = "/files";

/// Cases, and the files that they need.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    pub(super) files: Vec<(&'static str, PathBuf)>,
    pub(super) memory_mib: Option<u32>,
    cases: Vec<Case>,
}

static FOUND: OnceLock<Vec<(&'static str, PathBuf)>> = OnceLock::new();

/// Where a file of the suite is, for the case that calls this: on the host or
/// in the lab.
///
/// # Panics
///
/// If the suite has no file of this name.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    known(name).unwrap_or_else(|| panic!("the suite has no file {name:?}"))
}

/// As [`path`], of a file that the suite may do without.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    known(name).filter(|path| path.is_file())
}

fn known(name: &str) -> Option<PathBuf> {
    let files = FOUND.get().map(Vec::as_slice).unwrap_or_default();
    let (_, host) = files.iter().find(|(known, _)| *known == name)?;
    let path = match inside() {
        true => place_of(name).into(),
        false => host.clone(),
    };
    Some(path)
}

/// What the lab has to know of this process's environment.
fn passed_on() -> impl Iterator<Item = (String, String)> {
    let wanted = |name: &str| name == "RUST_BACKTRACE" || name.starts_with("KATA_MSHV_TEST_");
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| wanted(name))
}

/// In a lab.
pub(super) fn place_of(name: &str) -> String {
    format!("{FILES}/{name}")
}

impl Suite {
    /// A suite without cases.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a file of the host that cases find by [`path`]. Executable, so that
    /// it may be a program.
    #[must_use]
    pub fn file(mut self, name: &'static str, host: impl Into<PathBuf>) -> Self {
        self.files.push((name, host.into()));
        self
    }

    /// With that much memory in the lab, where the usual 3 GiB do not fit.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = Some(memory_mib);
        self
    }

    /// With one more case.
    #[must_use]
    pub fn case(mut self, case: Case) -> Self {
        self.cases.push(case);
        self
    }

    /// All that the test program's `main` does: runs the cases that the command
    /// line selects, as libtest does. The first that needs it starts the lab.
    #[must_use]
    pub fn main(self) -> ExitCode {
        enter();
        // The same in the process of a case.
        FOUND.get_or_init(|| self.files.clone());
        let mut arguments = std::env::args().skip(1);
        if arguments.next().as_deref() == Some(RUN) {
            return self.run_one(&arguments.next().unwrap_or_default());
        }
        let mut arguments = Arguments::from_args();
        let place = Arc::new(Place::choose(&self));
        // One processor serves them all in the lab.
        if arguments.test_threads.is_none() && place.is_lab() {
            arguments.test_threads = Some(1);
        }
        let shown = arguments.nocapture;
        let trials = self
            .cases
            .iter()
            .map(|case| trial(case.clone(), Arc::clone(&place), shown))
            .collect();
        let conclusion = libtest_mimic::run(&arguments, trials);
        place.close();
        conclusion.exit_code()
    }

    fn run_one(&self, name: &str) -> ExitCode {
        match self.cases.iter().find(|case| case.name == name) {
            Some(case) => (case.body)(),
            None => {
                eprintln!("there is no case {name:?}");
                ExitCode::FAILURE
            }
        }
    }
}

fn trial(case: Case, place: Arc<Place>, shown: bool) -> Trial {
    let kind = if place.is_lab() { "lab" } else { "" };
    Trial::test(case.name, move || judge(&case, &place, shown)).with_kind(kind)
}

fn judge(case: &Case, place: &Place, shown: bool) -> Result<(), Failed> {
    let program = passed_on().fold(
        Program::new(place.own_path())
            .args([RUN, case.name])
            .within(case.timeout),
        |program, (name, value)| program.env(name, value),
    );
    let mut each = |line: &str| {
        if shown {
            eprintln!("{}: {line}", case.name);
        }
    };
    let outcome = place.run(&program, &mut each)?;
    let verdict = match outcome.ending {
        Ending::Exited(0) => return Ok(()),
        // An error, a panic: what it was is in the output.
        Ending::Exited(1 | 101) => String::new(),
        Ending::TimedOut => format!("still running after {:?}\n", case.timeout),
        ending => format!("{ending}\n"),
    };
    Err(format!("{verdict}{}", outcome.output).into())
}
