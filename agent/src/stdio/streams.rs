//! The streams of one process, from its start until it is deleted.

use std::sync::Arc;
use std::time::Duration;

use protocol::Failure;
use rustix::fd::OwnedFd;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_vsock::VsockStream;

use super::pump::{self, Descriptor, Flush};
use super::{Tokens, Wires, connect, failed};

/// How long an exit waits for a host that does not read the output before it.
/// The output is not lost then; it only comes after the exit.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Pumps, and the terminal when there is one.
#[derive(Default)]
pub(crate) struct Streams {
    input: Option<JoinHandle<()>>,
    outputs: Vec<Output>,
    terminal: Option<Descriptor>,
}

struct Output {
    pump: JoinHandle<()>,
    flushes: mpsc::UnboundedSender<Flush>,
}

impl Streams {
    /// Connects pipes to the host.
    pub(crate) async fn connect(wires: Wires) -> Result<Self, Failure> {
        let mut streams = Self::default();
        if let Some((token, fd)) = wires.stdin {
            streams.add_input(connect(token).await?, descriptor(fd)?);
        }
        for (token, fd) in wires.outputs {
            streams.add_output(descriptor(fd)?, connect(token).await?);
        }
        Ok(streams)
    }

    /// Connects a terminal to the host. It has one output.
    pub(crate) async fn connect_terminal(tokens: Tokens, master: OwnedFd) -> Result<Self, Failure> {
        let terminal = descriptor(master)?;
        let mut streams = Self::default();
        streams.terminal = Some(Arc::clone(&terminal));
        if let Some(token) = tokens.stdin {
            streams.add_input(connect(token).await?, Arc::clone(&terminal));
        }
        if let Some(token) = tokens.stdout {
            streams.add_output(terminal, connect(token).await?);
        }
        Ok(streams)
    }

    fn add_input(&mut self, host: VsockStream, process: Descriptor) {
        self.input = Some(tokio::spawn(pump::input(host, process)));
    }

    fn add_output(&mut self, process: Descriptor, host: VsockStream) {
        let (flushes, receiver) = mpsc::unbounded_channel();
        let pump = tokio::spawn(pump::output(process, host, receiver));
        self.outputs.push(Output { pump, flushes });
    }

    /// The process has ended: nothing goes in any more, and what it has written
    /// goes out. A process it left behind may hold its streams open; nobody
    /// waits for that.
    pub(crate) async fn flush(&self) {
        if let Some(input) = &self.input {
            input.abort();
        }
        let flushed: Vec<_> = self.outputs.iter().map(Output::flush).collect();
        let all = async {
            for done in flushed {
                // A pump that has ended has passed on everything.
                let _ = done.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_TIME, all).await;
    }

    /// Sets the terminal's size; `None` when there is no terminal.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Option<std::io::Result<()>> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let terminal = self.terminal.as_ref()?;
        Some(tcsetwinsize(terminal.get_ref(), size).map_err(Into::into))
    }
}

impl Output {
    fn flush(&self) -> oneshot::Receiver<()> {
        let (done, flushed) = oneshot::channel();
        // Without a pump the sender is dropped, which tells the same.
        let _ = self.flushes.send(done);
        flushed
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let outputs = self.outputs.iter().map(|output| &output.pump);
        for pump in self.input.iter().chain(outputs) {
            pump.abort();
        }
    }
}

fn descriptor(fd: OwnedFd) -> Result<Descriptor, Failure> {
    pump::descriptor(fd).map_err(|error| failed("watch a stream", error))
}
