//! Where helpers come from: a process forked off before the agent's event loop
//! began, with one thread and nothing open. It waits for orders and forks a
//! helper for each. Starting the agent's program anew for each would cost more
//! than most helpers do.

use std::io;
use std::process::ExitCode;

use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::order::{self, Message};
use super::report::{Kind, Report};
use super::system;

/// The name of one that is started as a program, `argv[0]`.
pub(crate) const NAME: &str = "kata-mshv-helper";

/// A socket for orders, and the end of it that a nursery reads.
pub(crate) fn socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Forks a nursery off this process, which must have one thread and needs no
/// log yet; returns the socket for its orders.
pub(crate) fn fork() -> io::Result<OwnedFd> {
    let (ours, theirs) = socket()?;
    if system::fork_child()?.is_some() {
        return Ok(ours);
    }
    drop(ours);
    let code = match silence() {
        Ok(()) => serve(theirs),
        Err(_) => ExitCode::FAILURE,
    };
    system::exit_now(i32::from(code != ExitCode::SUCCESS))
}

/// A nursery as a program of its own, with the socket as standard input: in
/// place of one that was killed.
pub(crate) fn main() -> ExitCode {
    if std::env::args().next().as_deref() != Some(NAME) {
        eprintln!("kata-mshv-agent is the init process of a guest and runs only there");
        return ExitCode::FAILURE;
    }
    // A helper's standard input is another.
    match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(socket) => serve(socket),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ends with the agent, and in each helper with the helper.
fn serve(socket: OwnedFd) -> ExitCode {
    while let Some(message) = order::receive(socket.as_fd()) {
        match system::fork_sibling() {
            Ok(Some(_)) => {}
            Ok(None) => {
                // Only the nursery's: its end must be noticed.
                drop(socket);
                return begin(message);
            }
            Err(error) => message.refuse(&Report::Failed {
                kind: Kind::Internal,
                message: format!("start a helper: {error}"),
            }),
        }
    }
    ExitCode::SUCCESS
}

fn begin(message: Message) -> ExitCode {
    message.take().map_or(ExitCode::FAILURE, super::run)
}

/// The agent's console is not a helper's.
fn silence() -> io::Result<()> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
