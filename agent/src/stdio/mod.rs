//! Standard streams of a process: pipes or a terminal in the guest, one vsock
//! connection each to the host, and a pump between the two.
//!
//! A process has pipes, not the sockets themselves, so that it can open
//! `/dev/stdout` again and finds there what it finds elsewhere.

mod console;
mod pump;
mod streams;

use std::io;

use protocol::agent::Stdio;
use protocol::{Code, Failure, Token, ports};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncWriteExt;
use tokio_vsock::VsockStream;

pub(crate) use console::Console;
pub(crate) use streams::Streams;

/// Tokens of the streams that are not `/dev/null`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokens {
    stdin: Option<Token>,
    stdout: Option<Token>,
    stderr: Option<Token>,
}

impl Tokens {
    /// Reads them from `stdio`; empty means `/dev/null`.
    pub(crate) fn new(stdio: &Stdio) -> Result<Self, Failure> {
        Ok(Self {
            stdin: token(&stdio.stdin_token)?,
            stdout: token(&stdio.stdout_token)?,
            stderr: token(&stdio.stderr_token)?,
        })
    }
}

fn token(bytes: &[u8]) -> Result<Option<Token>, Failure> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        Failure::new(
            Code::InvalidArgument,
            "a stream's token is 16 bytes or none",
        )
    };
    Token::from_slice(bytes).ok_or_else(invalid).map(Some)
}

/// The process's ends of its streams.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Ends {
    /// `/dev/null` three times: for helpers, and for processes that get a terminal.
    pub(crate) fn null() -> Result<Self, Failure> {
        Ok(Self {
            stdin: null()?,
            stdout: null()?,
            stderr: null()?,
        })
    }
}

/// The agent's ends, each with the token of its stream.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    stdin: Option<(Token, OwnedFd)>,
    outputs: Vec<(Token, OwnedFd)>,
}

/// Pipes for the streams of `tokens`, `/dev/null` for the others.
pub(crate) fn pipes(tokens: Tokens) -> Result<(Ends, Wires), Failure> {
    let mut wires = Wires::default();
    let stdin = match tokens.stdin {
        None => null()?,
        Some(token) => {
            let (read, write) = pipe()?;
            wires.stdin = Some((token, write));
            read
        }
    };
    let mut output = |token: Option<Token>| match token {
        None => null(),
        Some(token) => {
            let (read, write) = pipe()?;
            wires.outputs.push((token, read));
            Ok(write)
        }
    };
    let (stdout, stderr) = (output(tokens.stdout)?, output(tokens.stderr)?);
    Ok((
        Ends {
            stdin,
            stdout,
            stderr,
        },
        wires,
    ))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("make a pipe", errno.into()))
}

fn null() -> Result<OwnedFd, Failure> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open /dev/null", errno.into()))
}

/// A connection to the host that carries the stream of `token`.
async fn connect(token: Token) -> Result<VsockStream, Failure> {
    let mut stream = crate::vsock::dial(ports::STDIO)
        .await
        .map_err(|error| Failure::from_error(Code::Unavailable, &error))?;
    stream
        .write_all(token.as_bytes())
        .await
        .map_err(|error| failed("open a stream to the host", error))?;
    Ok(stream)
}

fn failed(what: &str, error: io::Error) -> Failure {
    Failure::new(Code::Internal, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_token_is_whole_or_absent() {
        assert!(token(&[]).unwrap().is_none());
        assert!(token(&[1; 16]).unwrap().is_some());
        assert_eq!(token(&[1; 15]).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn each_stream_has_its_own_pipe_or_none() {
        let token = Token::new([1; 16]);
        let tokens = Tokens {
            stdin: None,
            stdout: Some(token),
            stderr: Some(token),
        };
        let (ends, mut wires) = pipes(tokens).unwrap();
        assert!(wires.stdin.is_none());
        assert_eq!(wires.outputs.len(), 2);

        std::fs::File::from(ends.stderr).write_all(b"err").unwrap();
        let mut text = String::new();
        let (_, stderr) = wires.outputs.pop().unwrap();
        std::fs::File::from(stderr)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "err");
        assert_eq!(
            std::fs::File::from(ends.stdin).read(&mut [0; 1]).unwrap(),
            0
        );
    }
}
