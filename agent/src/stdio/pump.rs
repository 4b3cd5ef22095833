//! Copying between a descriptor of the guest and a connection to the host.
//! A pump holds one buffer; when its receiver is slow, so is its source.

use std::io;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::sync::{mpsc, oneshot};

use crate::descriptor;

/// Bytes copied at once.
const BUFFER: usize = 16 << 10;

/// A non-blocking descriptor: an end of a pipe, or a terminal.
pub(super) type Descriptor = Arc<AsyncFd<OwnedFd>>;

/// Asks an output pump to pass on what is there, and to say when it has.
pub(super) type Flush = oneshot::Sender<()>;

/// Most bytes a flush passes on: a pipe holds no more, and another process may
/// write for ever.
const FLUSH_LIMIT: usize = 1 << 20;

/// Makes `fd` non-blocking and known to the event loop.
pub(super) fn descriptor(fd: OwnedFd) -> io::Result<Descriptor> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(Arc::new(descriptor::watch(
        fd,
        Interest::READABLE | Interest::WRITABLE,
    )?))
}

/// Copies from the host to the process until either has had enough.
pub(super) async fn input(mut host: impl AsyncRead + Unpin, process: Descriptor) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = host.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if write_all(&process, bytes).await.is_err() {
            return;
        }
    }
}

async fn write_all(process: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = process.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
            Ok(written) => bytes = bytes.get(written?..).unwrap_or_default(),
            Err(_would_block) => {}
        }
    }
    Ok(())
}

/// Copies from the process to the host until the process's end is closed, then
/// closes the connection. Without a host that reads, output is thrown away: the
/// process is not to be stopped by it.
pub(super) async fn output(
    process: Descriptor,
    host: impl AsyncWrite + Unpin,
    mut flushes: mpsc::UnboundedReceiver<Flush>,
) {
    let mut output = Output {
        process,
        host: Some(host),
        buffer: vec![0; BUFFER],
    };
    loop {
        tokio::select! {
            length = output.receive() => match length {
                Some(length) => output.send(length).await,
                None => break,
            },
            Some(done) = flushes.recv() => {
                let ended = output.flush().await;
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
                if ended {
                    break;
                }
            }
        }
    }
    if let Some(mut host) = output.host {
        // A host that is gone has nothing to be told.
        let _ = host.shutdown().await;
    }
}

struct Output<W> {
    process: Descriptor,
    host: Option<W>,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Waits for bytes in the buffer; `None` at the end. Cancelled while
    /// waiting it has taken none.
    async fn receive(&mut self) -> Option<usize> {
        loop {
            let process = Arc::clone(&self.process);
            let mut ready = process.readable().await.ok()?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd, &mut self.buffer[..])?)) {
                Ok(Ok(length @ 1..)) => return Some(length),
                // The other end of a terminal is closed: an error, EIO.
                Ok(Ok(0) | Err(_)) => return None,
                Err(_would_block) => {}
            }
        }
    }

    /// Passes on what is there now. Whether that was the end.
    async fn flush(&mut self) -> bool {
        let mut left = FLUSH_LIMIT;
        while left > 0 {
            match rustix::io::read(self.process.get_ref(), &mut self.buffer[..]) {
                Ok(length @ 1..) => {
                    self.send(length).await;
                    left = left.saturating_sub(length);
                }
                Err(Errno::AGAIN | Errno::INTR) => return false,
                Ok(0) | Err(_) => return true,
            }
        }
        false
    }

    async fn send(&mut self, length: usize) {
        if let Some(host) = &mut self.host {
            let bytes = self.buffer.get(..length).unwrap_or_default();
            if host.write_all(bytes).await.is_err() {
                self.host = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    #[tokio::test]
    async fn input_ends_with_the_hosts_half_close() {
        let (read, write) = pipe();
        let (mut host, guest) = tokio::io::duplex(64);
        let pump = tokio::spawn(input(guest, descriptor(write).unwrap()));
        host.write_all(b"hello").await.unwrap();
        drop(host);
        pump.await.unwrap();
        assert_eq!(
            io::read_to_string(std::fs::File::from(read)).unwrap(),
            "hello"
        );
    }

    #[tokio::test]
    async fn input_to_a_process_that_closed_its_end_stops() {
        let (read, write) = pipe();
        let (mut host, guest) = tokio::io::duplex(64);
        drop(read);
        let pump = tokio::spawn(input(guest, descriptor(write).unwrap()));
        host.write_all(b"hello").await.unwrap();
        pump.await.unwrap();
    }

    #[tokio::test]
    async fn output_is_whole_and_then_closed() {
        let (read, write) = pipe();
        let (mut host, guest) = tokio::io::duplex(7);
        let (_flushes, receiver) = mpsc::unbounded_channel();
        let pump = tokio::spawn(output(descriptor(read).unwrap(), guest, receiver));
        let text = "0123456789".repeat(5000);
        let copy = text.clone();
        std::thread::spawn(move || std::fs::File::from(write).write_all(copy.as_bytes()));
        let mut received = String::new();
        host.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, text);
        pump.await.unwrap();
    }

    #[tokio::test]
    async fn a_flush_passes_on_what_is_there_while_the_pipe_stays_open() {
        let (read, write) = pipe();
        let (mut host, guest) = tokio::io::duplex(1 << 16);
        let (flushes, receiver) = mpsc::unbounded_channel();
        let _pump = tokio::spawn(output(descriptor(read).unwrap(), guest, receiver));
        let mut writer = std::fs::File::from(write);
        writer.write_all(b"last words").unwrap();
        let (done, flushed) = oneshot::channel();
        flushes.send(done).unwrap();
        flushed.await.unwrap();
        let mut received = [0; 10];
        host.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"last words");
        drop(writer);
    }

    #[tokio::test]
    async fn a_host_that_left_does_not_stop_the_process() {
        let (read, write) = pipe();
        let (host, guest) = tokio::io::duplex(8);
        drop(host);
        let (_flushes, receiver) = mpsc::unbounded_channel();
        let pump = tokio::spawn(output(descriptor(read).unwrap(), guest, receiver));
        let writer = std::thread::spawn(move || {
            std::fs::File::from(write)
                .write_all(&vec![0; 1 << 20])
                .is_ok()
        });
        pump.await.unwrap();
        assert!(writer.join().unwrap());
    }
}
