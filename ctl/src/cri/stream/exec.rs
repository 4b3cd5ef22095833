//! Sessions with a process: exec and attach.

use super::status::exit_code;
use super::upgrade::dial;
use super::{Closed, Reader, StreamError, Writer};
use crate::cri::client::{CALL, call, timed};
use crate::cri::spdy::Opener;
use crate::cri::v1::{AttachRequest, ExecRequest};
use crate::cri::{Client, CriError};

const PROTOCOL: &str = "v4.channel.k8s.io";

/// How much of a result is kept, give or take a piece.
const RESULT: usize = 256 << 10;

/// Which of a process's streams a session carries. Standard output always is;
/// standard error is where there is no terminal, which has only one output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stdio {
    /// Send standard input.
    pub stdin: bool,
    /// Give the process a terminal (exec), or say that it has one (attach).
    pub tty: bool,
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The sending end for a terminal's size.
#[derive(Debug)]
pub struct Resizer(Writer);

impl Resizer {
    /// Tells the process's terminal its size.
    ///
    /// # Errors
    /// [`Closed`] once the session has ended.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Closed> {
        let message = format!("{{\"Width\":{},\"Height\":{}}}", size.width, size.height);
        self.0.write(message.as_bytes()).await
    }
}

/// A running session. Read standard output and standard error concurrently: one
/// that is neither read nor dropped holds up the other.
#[derive(Debug)]
pub struct Session {
    /// Standard input, where it was asked for. Finish it to give the process
    /// its end of file.
    pub stdin: Option<Writer>,
    /// Standard output, or the terminal.
    pub stdout: Reader,
    /// Standard error, where there is no terminal.
    pub stderr: Option<Reader>,
    /// The terminal's size, where there is a terminal.
    pub resizer: Option<Resizer>,
    /// The result, to be awaited.
    pub result: SessionResult,
}

/// The result of a session.
#[derive(Debug)]
pub struct SessionResult(Reader);

impl SessionResult {
    /// Waits for the end of the session and returns the command's exit code
    /// (exec), or 0 when the process has ended (attach).
    ///
    /// # Errors
    /// [`StreamError::NoResult`], [`StreamError::Result`],
    /// [`StreamError::Failed`].
    pub async fn exit_code(mut self) -> Result<i32, StreamError> {
        let mut result = Vec::new();
        while let Some(piece) = self.0.chunk().await {
            // It quotes errors from within the pod, which may be any length.
            if result.len() < RESULT {
                result.extend_from_slice(&piece);
            }
        }
        exit_code(&result)
    }
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, or the terminal's output.
    pub stdout: Vec<u8>,
    /// Standard error; empty with a terminal.
    pub stderr: Vec<u8>,
    /// The exit code.
    pub exit_code: i32,
}

impl Session {
    /// Sends `input`, closes standard input and waits for the end.
    ///
    /// # Errors
    /// As [`SessionResult::exit_code`].
    pub async fn communicate(mut self, input: &[u8]) -> Result<Output, StreamError> {
        let (stdin, mut stderr) = (self.stdin.take(), self.stderr.take());
        let (_, stdout, stderr, exit_code) = tokio::join!(
            feed(stdin, input),
            self.stdout.to_end(),
            async {
                match &mut stderr {
                    Some(stderr) => stderr.to_end().await,
                    None => Vec::new(),
                }
            },
            self.result.exit_code(),
        );
        let exit_code = exit_code?;
        Ok(Output {
            stdout,
            stderr,
            exit_code,
        })
    }
}

/// A command need not read its input, so that writing fails is no error.
async fn feed(stdin: Option<Writer>, input: &[u8]) -> Result<(), Closed> {
    let Some(stdin) = stdin else { return Ok(()) };
    stdin.write(input).await?;
    stdin.finish().await
}

impl Client {
    /// Runs a command in a container.
    ///
    /// # Errors
    /// [`CriError::Rpc`], [`CriError::Stream`].
    pub async fn exec<A: AsRef<str>>(
        &self,
        id: &str,
        command: &[A],
        stdio: Stdio,
    ) -> Result<Session, CriError> {
        let request = ExecRequest {
            container_id: id.to_owned(),
            cmd: command
                .iter()
                .map(|word| word.as_ref().to_owned())
                .collect(),
            tty: stdio.tty,
            stdin: stdio.stdin,
            stdout: true,
            stderr: !stdio.tty,
        };
        let mut api = self.runtime.clone();
        let url = call("Exec", id, api.exec(timed(request, CALL))).await?.url;
        open(&url, stdio).await.map_err(failed("Exec", id))
    }

    /// Connects to the streams of a running container.
    ///
    /// # Errors
    /// [`CriError::Rpc`], [`CriError::Stream`].
    pub async fn attach(&self, id: &str, stdio: Stdio) -> Result<Session, CriError> {
        let request = AttachRequest {
            container_id: id.to_owned(),
            stdin: stdio.stdin,
            tty: stdio.tty,
            stdout: true,
            stderr: !stdio.tty,
        };
        let mut api = self.runtime.clone();
        let url = call("Attach", id, api.attach(timed(request, CALL)))
            .await?
            .url;
        open(&url, stdio).await.map_err(failed("Attach", id))
    }
}

pub(super) fn failed(
    operation: &'static str,
    subject: &str,
) -> impl FnOnce(StreamError) -> CriError {
    let subject = subject.to_owned();
    move |source| CriError::Stream {
        operation,
        subject,
        source,
    }
}

async fn open(url: &str, stdio: Stdio) -> Result<Session, StreamError> {
    let mut connection = Opener::new(dial(url, PROTOCOL).await?);
    let (_, result) = stream(&mut connection, "error").await?;
    let stdin = stream_if(stdio.stdin, &mut connection, "stdin").await?;
    let (_, stdout) = stream(&mut connection, "stdout").await?;
    let stderr = stream_if(!stdio.tty, &mut connection, "stderr").await?;
    let resizer = stream_if(stdio.tty, &mut connection, "resize").await?;
    Ok(Session {
        stdin: stdin.map(|(writer, _)| writer),
        stdout,
        stderr: stderr.map(|(_, reader)| reader),
        resizer: resizer.map(|(writer, _)| Resizer(writer)),
        result: SessionResult(result),
    })
}

async fn stream(connection: &mut Opener, kind: &str) -> Result<(Writer, Reader), StreamError> {
    let opened = connection.stream(&[("streamtype", kind)]).await;
    opened.map_err(StreamError::Open)
}

async fn stream_if(
    wanted: bool,
    connection: &mut Opener,
    kind: &str,
) -> Result<Option<(Writer, Reader)>, StreamError> {
    match wanted {
        true => stream(connection, kind).await.map(Some),
        false => Ok(None),
    }
}
