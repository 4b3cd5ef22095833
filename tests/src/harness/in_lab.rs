//! The cases in a lab.

use std::process::ExitCode;

use anyhow::Result;

use super::{arguments, list, prepare};
use crate::bed::Setup;
use crate::harness::kernel::Kernel;
use crate::harness::selection::Selection;
use crate::in_lab;

pub(super) fn run(setup: Setup, chosen: &'static [&'static str]) -> Result<ExitCode> {
    let arguments = arguments();
    let selection = Selection::new(setup, Kernel::Labs, Some(chosen))?;
    if arguments.list || !selection.leaves_any(&arguments) {
        return Ok(list(&arguments, selection));
    }
    prepare(setup)?;
    in_lab::again()
}
