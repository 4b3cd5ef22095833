//! `kata-mshv-vmm`: runs one virtual machine for the shim that started it,
//! which speaks on descriptor 3 (`vmm_api::Request`), as the user that
//! `--user UID:GID` names.

use std::process::ExitCode;

use monitor::control::{self, Control, ServeError};
use monitor::error;
use monitor::jail::{self, JailError, User, UserError};
use vmm_api::{CONTROL_FD, StopReason};

/// No machine came about, or it went down with its process.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Jail(#[from] JailError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let user = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(User::default()),
        ["--user", user] => user.parse(),
        _ => {
            println!("kata-mshv-vmm {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
    };
    let code = match run(user) {
        Ok(reason) => code(reason.as_ref()),
        Err(error) => {
            eprintln!("{}", error::chain(&error));
            1
        }
    };
    // Takes all processors with it, whatever they are at.
    std::process::exit(code)
}

fn run(user: Result<User, UserError>) -> Result<Option<StopReason>, Error> {
    jail::enter(user?, CONTROL_FD)?;
    let control = Control::inherited(CONTROL_FD).map_err(ServeError::Control)?;
    Ok(control::serve(control)?)
}

/// For who starts it by hand; the shim has been told the reason itself.
fn code(reason: Option<&StopReason>) -> i32 {
    match reason {
        None | Some(StopReason::Requested | StopReason::Rebooted) => 0,
        Some(StopReason::Exited { status }) => i32::from(*status),
        Some(_) => 1,
    }
}
