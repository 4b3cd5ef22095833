//! A connection and its streams.
//!
//! ```text
//!  Writer ─┐                       ┌─ Reader (one bounded queue per stream)
//!  Writer ─┼─ queue ─ write task   │
//!          └──────── pings ─ read task
//! ```
//!
//! Queues are bounded, so a reader that is not drained stops the connection,
//! all its streams with it: read them together or drop those not wanted.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::frame::{self, CONTROL_LIMIT, Control, HEADER, Head};
use super::header::{HeaderWriter, Headers};
use super::inbox::Inboxes;

/// Frames that wait to be sent.
const QUEUE: usize = 16;
/// The largest piece in which data is sent and handed on.
const PIECE: usize = 32 << 10;

/// The connection has ended; nothing more can be sent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream's connection has ended")]
pub struct Closed;

/// The receiving half of a stream.
#[derive(Debug)]
pub struct Reader {
    pieces: mpsc::Receiver<Bytes>,
    _connection: Arc<Connection>,
}

impl Reader {
    /// The next piece of data (at most 32 KiB), or None at the end of the
    /// stream. Safe to cancel.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        self.pieces.recv().await
    }

    /// All data until the end of the stream. The caller bounds it by what it
    /// runs.
    pub async fn to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await {
            all.extend_from_slice(&piece);
        }
        all
    }
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct Writer {
    stream: u32,
    outgoing: mpsc::Sender<Vec<u8>>,
    _connection: Arc<Connection>,
}

impl Writer {
    /// Sends data; returns when it is queued.
    ///
    /// # Errors
    /// [`Closed`] once the connection is gone.
    pub async fn write(&self, data: &[u8]) -> Result<(), Closed> {
        for piece in data.chunks(PIECE) {
            self.send(frame::data(self.stream, false, piece)).await?;
        }
        Ok(())
    }

    /// Ends this direction of the stream; the other one goes on.
    ///
    /// # Errors
    /// [`Closed`] once the connection is gone.
    pub async fn finish(self) -> Result<(), Closed> {
        self.send(frame::data(self.stream, true, &[])).await
    }

    async fn send(&self, frame: Vec<u8>) -> Result<(), Closed> {
        self.outgoing.send(frame).await.map_err(|_| Closed)
    }
}

/// A connection on which streams are opened. It lives until this and the last
/// half of a stream are dropped, or the peer closes it.
#[derive(Debug)]
pub(crate) struct Opener {
    next: u32,
    headers: HeaderWriter,
    outgoing: mpsc::Sender<Vec<u8>>,
    inboxes: Arc<Inboxes>,
    connection: Arc<Connection>,
}

impl Opener {
    /// Takes over a connection that was just upgraded to SPDY.
    pub(crate) fn new<T>(transport: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(transport);
        let (outgoing, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_frames(write, queue));
        let inboxes = Arc::new(Inboxes::default());
        let incoming = Incoming {
            transport: read,
            inboxes: inboxes.clone(),
            pings: outgoing.clone(),
        };
        let read_task = tokio::spawn(incoming.run()).abort_handle();
        Self {
            next: 1,
            headers: HeaderWriter::default(),
            outgoing,
            inboxes,
            connection: Arc::new(Connection { read_task }),
        }
    }

    /// Opens a stream. Its headers may take 64 KiB.
    ///
    /// # Errors
    /// [`Closed`] where the connection has ended or the headers are too large.
    pub(crate) async fn stream(
        &mut self,
        headers: Headers<'_>,
    ) -> Result<(Writer, Reader), Closed> {
        let stream = self.next;
        // A client's streams have odd numbers.
        self.next += 2;
        let block = self.headers.encode(headers).ok_or(Closed)?;
        let pieces = self.inboxes.add(stream).ok_or(Closed)?;
        let opening = frame::syn_stream(stream, &block);
        self.outgoing.send(opening).await.map_err(|_| Closed)?;
        let outgoing = self.outgoing.clone();
        Ok((
            Writer {
                stream,
                outgoing,
                _connection: self.connection.clone(),
            },
            Reader {
                pieces,
                _connection: self.connection.clone(),
            },
        ))
    }
}

/// Ends the read task with the last half of a stream. The write task ends by
/// itself, after what was queued, as nobody can queue any more.
#[derive(Debug)]
struct Connection {
    read_task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.read_task.abort();
    }
}

async fn write_frames<W: AsyncWrite + Unpin>(mut transport: W, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        if transport.write_all(&frame).await.is_err() || transport.flush().await.is_err() {
            // The read task meets the same end and tells the readers.
            return;
        }
    }
    // The peer may have closed first, which is no loss.
    let _ = transport.shutdown().await;
}

/// The read task's state. When it is dropped every stream has ended.
struct Incoming<R> {
    transport: R,
    inboxes: Arc<Inboxes>,
    pings: mpsc::Sender<Vec<u8>>,
}

impl<R> Drop for Incoming<R> {
    fn drop(&mut self) {
        self.inboxes.end();
    }
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Hands on data until the connection ends. How it ended does not matter:
    /// a command's result is a message of its own.
    async fn run(mut self) {
        while self.frame().await.is_some() {}
    }

    async fn frame(&mut self) -> Option<()> {
        let mut head = [0; HEADER];
        self.transport.read_exact(&mut head).await.ok()?;
        match Head::parse(head)? {
            Head::Data {
                stream,
                fin,
                length,
            } => self.data(stream, fin, length).await,
            Head::Control { kind, fin, length } => self.control(kind, fin, length).await,
        }
    }

    async fn data(&mut self, stream: u32, fin: bool, mut length: usize) -> Option<()> {
        let inbox = self.inboxes.get(stream);
        while length > 0 {
            let mut piece = vec![0; length.min(PIECE)];
            self.transport.read_exact(&mut piece).await.ok()?;
            length -= piece.len();
            if let Some(inbox) = &inbox {
                // A dropped reader does not want the data.
                let _ = inbox.send(piece.into()).await;
            }
        }
        if fin {
            self.inboxes.remove(stream);
        }
        Some(())
    }

    async fn control(&mut self, kind: u16, fin: bool, length: usize) -> Option<()> {
        if length > CONTROL_LIMIT {
            return None;
        }
        let mut content = vec![0; length];
        self.transport.read_exact(&mut content).await.ok()?;
        match Control::parse(kind, fin, &content)? {
            Control::Reset { stream } | Control::Finished { stream } => self.inboxes.remove(stream),
            Control::Ping { id } => self.pings.send(frame::ping(id)).await.ok()?,
            Control::GoAway | Control::Ignored => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    async fn one_stream() -> (Writer, Reader, DuplexStream) {
        let (ours, mut peer) = tokio::io::duplex(1 << 20);
        let (writer, reader) = Opener::new(ours).stream(&[("a", "b")]).await.unwrap();
        let mut syn = [0; 46];
        peer.read_exact(&mut syn[..8]).await.unwrap();
        let length = usize::from(syn[7]);
        peer.read_exact(&mut syn[8..8 + length]).await.unwrap();
        (writer, reader, peer)
    }

    #[tokio::test]
    async fn data_arrives_in_bounded_pieces_and_ends_with_fin() {
        let (_writer, mut reader, mut peer) = one_stream().await;
        peer.write_all(&frame::data(1, true, &[7; 100_000]))
            .await
            .unwrap();
        assert_eq!(reader.chunk().await.map(|piece| piece.len()), Some(PIECE));
        assert_eq!(reader.to_end().await.len(), 100_000 - PIECE);
        assert_eq!(reader.chunk().await, None);
    }

    #[tokio::test]
    async fn finish_sends_an_empty_last_frame_and_leaves_reading_open() {
        let (writer, mut reader, mut peer) = one_stream().await;
        writer.write(b"in").await.unwrap();
        writer.finish().await.unwrap();
        let mut sent = [0; 18];
        peer.read_exact(&mut sent).await.unwrap();
        assert_eq!(&sent, b"\0\0\0\x01\0\0\0\x02in\0\0\0\x01\x01\0\0\0");
        peer.write_all(&frame::data(1, true, b"out")).await.unwrap();
        assert_eq!(reader.to_end().await, b"out");
    }

    #[tokio::test]
    async fn a_ping_is_answered() {
        let (_writer, _reader, mut peer) = one_stream().await;
        peer.write_all(&frame::ping(2)).await.unwrap();
        let mut answer = [0; 12];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..], frame::ping(2)[..]);
    }

    #[tokio::test]
    async fn a_peer_that_goes_or_talks_nonsense_ends_the_stream() {
        for last_words in [
            &b""[..],
            b"HTTP/1.1 500",
            &[0x80, 3, 0, 6, 0, 255, 255, 255],
        ] {
            let (_writer, mut reader, mut peer) = one_stream().await;
            peer.write_all(last_words).await.unwrap();
            drop(peer);
            assert_eq!(reader.chunk().await, None, "{last_words:?}");
        }
    }

    #[tokio::test]
    async fn dropping_the_stream_closes_the_connection_after_what_was_queued() {
        let (writer, reader, mut peer) = one_stream().await;
        writer.write(b"last").await.unwrap();
        drop((writer, reader));
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, frame::data(1, false, b"last"));
    }
}
