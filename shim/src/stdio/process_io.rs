//! All standard streams of one process.

use std::path::PathBuf;
use std::time::Duration;

use protocol::agent::Stdio;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::Streams;
use super::fifo::{self, Output};
use super::streams::Expected;

/// What containerd asks for: paths, empty where a stream is not wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StdioPaths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Why a stream cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    #[error("open the process's {stream} at {}", path.display())]
    Open {
        stream: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the process's {stream} is wanted at {uri:?}: only FIFOs and file:// are supported, not log drivers"
    )]
    Scheme { stream: &'static str, uri: String },
}

/// The pumps of one process. Dropped, every pump stops.
#[derive(Default)]
pub(crate) struct ProcessIo {
    stdin: Option<Pump>,
    stdin_keeper: Option<std::fs::File>,
    outputs: Vec<Pump>,
    tokens: Stdio,
}

/// A task that copies one stream; aborted when dropped.
struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ProcessIo {
    /// Opens containerd's ends and expects the guest's.
    pub(crate) fn open(paths: &StdioPaths, streams: &Streams) -> Result<Self, StdioError> {
        let mut io = Self::default();
        io.tokens.terminal = paths.terminal;
        if let Some(path) = local_path("stdin", &paths.stdin)? {
            io.open_stdin(path, streams)?;
        }
        if let Some(path) = local_path("stdout", &paths.stdout)? {
            io.tokens.stdout_token = io.open_output("stdout", path, streams)?;
        }
        // A terminal has one output.
        if let Some(path) = local_path("stderr", &paths.stderr)?.filter(|_| !paths.terminal) {
            io.tokens.stderr_token = io.open_output("stderr", path, streams)?;
        }
        Ok(io)
    }

    /// What the agent needs to know.
    pub(crate) fn tokens(&self) -> Stdio {
        self.tokens.clone()
    }

    /// containerd will write no more input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin_keeper = None;
    }

    /// Waits until the process's output has reached containerd, at most
    /// `limit`: a grandchild may hold the stream open for ever.
    pub(crate) async fn drain(mut self, limit: Duration) {
        self.stdin_keeper = None;
        let _ = tokio::time::timeout(limit, async {
            for pump in &mut self.outputs {
                let _ = (&mut pump.0).await;
            }
        })
        .await;
    }

    fn open_stdin(&mut self, path: PathBuf, streams: &Streams) -> Result<(), StdioError> {
        let stdin = fifo::open_stdin(&path).map_err(open_failed("stdin", path))?;
        let expected = streams.expect();
        self.tokens.stdin_token = expected.token().as_bytes().to_vec();
        self.stdin_keeper = Some(stdin.keeper);
        self.stdin = Some(Pump(tokio::spawn(feed(stdin.reader, expected))));
        Ok(())
    }

    fn open_output(
        &mut self,
        stream: &'static str,
        path: PathBuf,
        streams: &Streams,
    ) -> Result<Vec<u8>, StdioError> {
        let output = fifo::open_output(&path).map_err(open_failed(stream, path))?;
        let expected = streams.expect();
        let token = expected.token().as_bytes().to_vec();
        let pump = match output {
            Output::Fifo(fifo) => tokio::spawn(collect(expected, fifo)),
            Output::File(file) => tokio::spawn(collect(expected, file)),
        };
        self.outputs.push(Pump(pump));
        Ok(token)
    }
}

fn local_path(stream: &'static str, uri: &str) -> Result<Option<PathBuf>, StdioError> {
    match uri.split_once("://") {
        _ if uri.is_empty() => Ok(None),
        None => Ok(Some(uri.into())),
        Some(("fifo" | "file", path)) => Ok(Some(path.into())),
        Some(_) => Err(StdioError::Scheme {
            stream,
            uri: uri.to_owned(),
        }),
    }
}

fn open_failed(stream: &'static str, path: PathBuf) -> impl FnOnce(std::io::Error) -> StdioError {
    move |source| StdioError::Open {
        stream,
        path,
        source,
    }
}

/// containerd → guest. The end of the FIFO becomes a half-close.
async fn feed(mut fifo: impl AsyncRead + Unpin, expected: Expected) {
    if let Some(mut stream) = expected.stream().await {
        // An error means that the process no longer reads: nothing to tell.
        let _ = tokio::io::copy(&mut fifo, &mut stream).await;
        let _ = stream.shutdown().await;
    }
}

/// Guest → containerd.
async fn collect(expected: Expected, mut output: impl AsyncWrite + Unpin) {
    if let Some(mut stream) = expected.stream().await {
        let _ = tokio::io::copy(&mut stream, &mut output).await;
        let _ = output.flush().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::{Read, Write};
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    fn fifos(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            nix::unistd::mkfifo(&folder.path().join(name), Mode::S_IRWXU).unwrap();
        }
        folder
    }

    fn path(folder: &tempfile::TempDir, name: &str) -> String {
        folder.path().join(name).display().to_string()
    }

    async fn guest_stream(streams: &Streams, token: &[u8]) -> UnixStream {
        let (mut guest, host) = UnixStream::pair().unwrap();
        streams.arrived(host);
        guest.write_all(token).await.unwrap();
        guest
    }

    #[tokio::test]
    async fn output_reaches_the_fifo_and_ends() {
        let folder = fifos(&["out"]);
        let streams = Streams::new();
        let paths = StdioPaths {
            stdout: path(&folder, "out"),
            ..Default::default()
        };
        let io = ProcessIo::open(&paths, &streams).unwrap();
        assert!(io.tokens().stdin_token.is_empty());

        let mut reader = tokio::net::unix::pipe::OpenOptions::new()
            .open_receiver(path(&folder, "out"))
            .unwrap();
        let mut guest = guest_stream(&streams, &io.tokens().stdout_token).await;
        guest.write_all(b"hello").await.unwrap();
        drop(guest);
        io.drain(Duration::from_secs(10)).await;
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn stdin_ends_only_when_both_sides_are_done_with_it() {
        let folder = fifos(&["in"]);
        let streams = Streams::new();
        let paths = StdioPaths {
            stdin: path(&folder, "in"),
            ..Default::default()
        };
        let mut io = ProcessIo::open(&paths, &streams).unwrap();
        let mut guest = guest_stream(&streams, &io.tokens().stdin_token).await;

        for text in ["one", "two"] {
            // Each writer closes the FIFO: a containerd that restarts does so.
            let mut fifo = std::fs::OpenOptions::new()
                .write(true)
                .open(path(&folder, "in"))
                .unwrap();
            fifo.write_all(text.as_bytes()).unwrap();
        }
        let mut got = [0; 6];
        guest.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"onetwo");

        io.close_stdin();
        assert_eq!(guest.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_gets_what_was_written_meanwhile() {
        let folder = fifos(&["out"]);
        let streams = Streams::new();
        let paths = StdioPaths {
            stdout: path(&folder, "out"),
            ..Default::default()
        };
        let io = ProcessIo::open(&paths, &streams).unwrap();
        drop(
            std::fs::OpenOptions::new()
                .read(true)
                .open(path(&folder, "out"))
                .unwrap(),
        );

        let mut guest = guest_stream(&streams, &io.tokens().stdout_token).await;
        guest.write_all(b"later").await.unwrap();
        let fifo = path(&folder, "out");
        let read = move || {
            let mut got = [0; 5];
            std::fs::File::open(fifo)
                .unwrap()
                .read_exact(&mut got)
                .unwrap();
            got
        };
        assert_eq!(&tokio::task::spawn_blocking(read).await.unwrap(), b"later");
    }

    #[tokio::test]
    async fn a_log_driver_is_refused() {
        let paths = StdioPaths {
            stdout: "binary:///bin/logger".into(),
            ..Default::default()
        };
        let error = ProcessIo::open(&paths, &Streams::new()).err().unwrap();
        assert!(error.to_string().contains("not log drivers"));
    }
}
