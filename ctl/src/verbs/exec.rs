//! `kata-mshv exec POD -- CMD`

use std::io;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::Global;
use crate::cri::stream::{Reader, Resizer, Session, Stdio, StreamError, Writer};
use crate::cri::v1::{Container, ContainerState, PodSandbox};
use crate::pods::{container_name, containers_of, find_container, find_pod, full_name};
use crate::terminal::{RawMode, terminal_size};

/// Run a command in a container.
///
/// The exit code is the command's; 127 where the command does not exist, 126
/// where it cannot be executed, 1 for errors of kata-mshv itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pass on standard input.
    #[arg(short = 'i', long)]
    stdin: bool,

    /// Give the command a terminal.
    #[arg(short, long)]
    tty: bool,

    /// Name, namespace/name, or beginning of the id.
    #[arg(value_name = "POD")]
    pod: String,

    /// The container; else the pod's default or first one.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,

    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// That there is no such container, or the session with it fails.
pub async fn exec(global: &Global, args: Args) -> anyhow::Result<i32> {
    let client = global.client().await?;
    let pod = find_pod(&client, &args.pod).await?;
    let containers = containers_of(&client, &pod.id).await?;
    let name = args.container.as_deref();
    let container = find_container(&pod, &containers, name, true)?;
    if name.is_none() {
        say_which(&pod, container, &containers);
    }
    let stdio = Stdio {
        stdin: args.stdin,
        tty: args.tty,
    };
    let session = client.exec(&container.id, &args.command, stdio).await?;
    let raw = match args.tty && args.stdin {
        true => RawMode::enter().context("cannot set up the terminal")?,
        false => None,
    };
    let ended = converse(session).await;
    drop(raw);
    exit_code(ended)
}

/// Tells which of several running containers was taken.
fn say_which(pod: &PodSandbox, taken: &Container, containers: &[Container]) {
    let running = |c: &&Container| c.state() == ContainerState::ContainerRunning;
    let names: Vec<_> = containers
        .iter()
        .filter(running)
        .map(container_name)
        .collect();
    if names.len() > 1 {
        let (pod, taken) = (full_name(pod), container_name(taken));
        eprintln!(
            "container {taken} of pod {pod}; it has: {}",
            names.join(", ")
        );
    }
}

/// Passes everything on until the command has ended.
async fn converse(session: Session) -> Result<i32, StreamError> {
    if let Some(resizer) = session.resizer {
        tokio::spawn(pass_size(resizer));
    }
    if let Some(stdin) = session.stdin {
        tokio::spawn(pass_input(stdin));
    }
    let stderr = async {
        if let Some(stderr) = session.stderr {
            pass_output(stderr, tokio::io::stderr()).await;
        }
    };
    let stdout = pass_output(session.stdout, tokio::io::stdout());
    let ((), (), code) = tokio::join!(stdout, stderr, session.result.exit_code());
    code
}

/// Tells the command's terminal the size of ours, now and when it changes.
async fn pass_size(resizer: Resizer) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        if let Some(size) = terminal_size()
            && resizer.resize(size).await.is_err()
        {
            return;
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// Ends with standard input, or with the command, which need not read it all.
async fn pass_input(stdin: Writer) {
    let (mut input, mut buffer) = (tokio::io::stdin(), vec![0; 32 << 10]);
    loop {
        match input.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if stdin.write(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
    // The command may have ended before its input.
    let _ = stdin.finish().await;
}

/// Output that nobody reads any more is dropped; the command learns it from
/// its own closed pipe only when the session ends.
async fn pass_output(mut from: Reader, mut to: impl AsyncWrite + Unpin) {
    while let Some(piece) = from.chunk().await {
        let written: io::Result<()> = async {
            to.write_all(&piece).await?;
            to.flush().await
        }
        .await;
        if written.is_err() {
            return;
        }
    }
}

/// The command's exit code, or the shell's code for a command that does not
/// start, with the runtime's words on standard error.
fn exit_code(ended: Result<i32, StreamError>) -> anyhow::Result<i32> {
    match ended {
        Err(StreamError::Failed { message }) => {
            eprintln!("kata-mshv: {message}");
            Ok(start_failure(&message))
        }
        ended => Ok(ended?),
    }
}

/// The session's result has no code for what went wrong, only words: those of
/// the Go library and the kernel for a missing file are looked for.
fn start_failure(message: &str) -> i32 {
    let missing = ["executable file not found", "no such file or directory"];
    let message = message.to_lowercase();
    match missing.iter().any(|words| message.contains(words)) {
        true => 127,
        false => 126,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_start_has_the_shells_codes() {
        for (message, code) in [
            ("exec: \"x\": executable file not found in $PATH", 127),
            ("exec: \"/x\": stat /x: no such file or directory", 127),
            (
                "cannot execute /x: No such file or directory (os error 2)",
                127,
            ),
            ("exec: \"/etc\": permission denied", 126),
        ] {
            assert_eq!(start_failure(message), code, "{message}");
        }
    }

    #[test]
    fn other_failures_are_errors() {
        assert_eq!(exit_code(Ok(137)).unwrap(), 137);
        assert!(exit_code(Err(StreamError::NoResult)).is_err());
    }
}
