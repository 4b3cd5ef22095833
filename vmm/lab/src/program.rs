//! Running a program with its output line by line and an end to its time: the
//! same in the lab, where init does it, and outside.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::message::{Ending, Program};
use crate::tail::Lines;

/// Who has to be gone when a program has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survivors {
    /// Its process group: there are others on this machine.
    Group,
    /// Everybody: the caller is init, and this was all that ran.
    All,
}

/// Runs `program` to its end; `each` gets its output (both streams).
pub(crate) fn run(
    program: &Program,
    survivors: Survivors,
    each: &mut dyn FnMut(&str),
) -> io::Result<Ending> {
    let (output, mut child) = start(program)?;
    let watched = watch(&output, &child, Instant::now() + program.timeout, each);
    let end = end(&mut child, survivors);
    let mut lines = watched?;
    drain(&output, &mut lines.lines, each)?;
    let status = end?;
    Ok(if lines.in_time {
        ending(status)
    } else {
        Ending::TimedOut
    })
}

fn start(program: &Program) -> io::Result<(PipeReader, Child)> {
    let (output, input) = io::pipe()?;
    let child = Command::new(&program.path)
        .args(&program.arguments)
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .spawn()?;
    Ok((output, child))
}

struct Watched {
    lines: Lines,
    in_time: bool,
}

/// Relays output until the program has ended or its time has.
fn watch(
    output: &PipeReader,
    child: &Child,
    deadline: Instant,
    each: &mut dyn FnMut(&str),
) -> io::Result<Watched> {
    let process = pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
    let mut lines = Lines::default();
    let mut open = true;
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Ok(Watched {
                lines,
                in_time: false,
            });
        };
        let mut ready = [
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
            PollFd::new(output.as_fd(), PollFlags::POLLIN),
        ];
        let ready = if open {
            &mut ready[..]
        } else {
            &mut ready[..1]
        };
        match poll(ready, timeout(left)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ended, readable] =
            [0, 1].map(|index| ready.get(index).and_then(PollFd::any).unwrap_or(false));
        if readable {
            open = relay(output, &mut lines, each)?;
        } else if ended {
            return Ok(Watched {
                lines,
                in_time: true,
            });
        }
    }
}

/// At least a millisecond: a shorter rest must not make a busy loop.
fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
}

/// Whether there may be more.
fn relay(
    mut output: &PipeReader,
    lines: &mut Lines,
    each: &mut dyn FnMut(&str),
) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    match output.read(&mut buffer) {
        Ok(count) => {
            lines.push(&buffer[..count], each);
            Ok(count > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// What is still in the pipe. Does not wait: a process that left its group may
/// hold the other end.
fn drain(output: &PipeReader, lines: &mut Lines, each: &mut dyn FnMut(&str)) -> io::Result<()> {
    loop {
        let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        let readable = poll(&mut ready, PollTimeout::ZERO)? > 0;
        if !readable || !relay(output, lines, each)? {
            lines.flush(each);
            return Ok(());
        }
    }
}

/// The program's status, once it and its descendants are gone.
fn end(child: &mut Child, survivors: Survivors) -> io::Result<ExitStatus> {
    // Those that have ended are no error.
    let _ = match survivors {
        Survivors::Group => killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL),
        Survivors::All => kill(Pid::from_raw(-1), Signal::SIGKILL),
    };
    let status = child.wait()?;
    if survivors == Survivors::All {
        // Orphans are init's to reap.
        while nix::sys::wait::wait().is_ok() {}
    }
    Ok(status)
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Killed(signal.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> (Ending, Vec<String>) {
        let program = Program::new("/bin/sh").args(["-c", script]).within(timeout);
        let mut lines = Vec::new();
        let ending = run(&program, Survivors::Group, &mut |line| {
            lines.push(line.to_owned())
        });
        (ending.unwrap(), lines)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn both_streams_arrive_in_order_with_the_code() {
        let (ending, lines) = shell("echo one; echo two >&2; printf three; exit 3", LONG);
        assert_eq!(ending, Ending::Exited(3));
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_signal_is_told() {
        assert_eq!(shell("kill -ABRT $$", LONG).0, Ending::Killed(6));
    }

    #[test]
    fn what_takes_too_long_is_ended_and_its_output_kept() {
        let begun = Instant::now();
        let (ending, lines) = shell("echo begun; sleep 30", Duration::from_millis(300));
        assert_eq!(ending, Ending::TimedOut);
        assert_eq!(lines, ["begun"]);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn closed_output_is_not_the_end() {
        let (ending, _) = shell("exec >&- 2>&-; sleep 0.2; exit 5", LONG);
        assert_eq!(ending, Ending::Exited(5));
    }

    #[test]
    fn what_a_program_leaves_running_ends_with_it() {
        let begun = Instant::now();
        let (ending, lines) = shell("sleep 30 & echo $!", LONG);
        assert_eq!(ending, Ending::Exited(0));
        assert!(begun.elapsed() < Duration::from_secs(10));
        let left: i32 = lines[0].parse().unwrap();
        let gone = || match std::fs::read_to_string(format!("/proc/{left}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !gone() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{left} lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = run(&Program::new("/no/such"), Survivors::Group, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
