//! `kata-mshv-vmm`: runs one virtual machine for the shim that started it,
//! which speaks on descriptor 3 (`vmm_api::Request`).

use std::process::ExitCode;

use monitor::control::{self, Control, ServeError};
use monitor::error;
use vmm_api::{CONTROL_FD, StopReason};

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        println!("kata-mshv-vmm {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let code = match run() {
        Ok(reason) => code(reason.as_ref()),
        Err(error) => {
            eprintln!("{}", error::chain(&error));
            1
        }
    };
    // Takes all processors with it, whatever they are at.
    std::process::exit(code)
}

fn run() -> Result<Option<StopReason>, ServeError> {
    control::serve(Control::inherited(CONTROL_FD)?)
}

/// For who starts it by hand; the shim has been told the reason itself.
fn code(reason: Option<&StopReason>) -> i32 {
    match reason {
        None | Some(StopReason::Requested | StopReason::Rebooted) => 0,
        Some(StopReason::Exited { status }) => i32::from(*status),
        Some(_) => 1,
    }
}
