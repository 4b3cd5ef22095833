//! Connections to the host. The guest always dials.

use std::pin::Pin;
use std::task::{Context, Poll};

use protocol::ports;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio_vsock::{VsockAddr, VsockStream};

/// The host did not take a connection.
#[derive(Debug, thiserror::Error)]
#[error("connect to vsock port {port} of the host")]
pub(crate) struct DialError {
    port: u32,
    source: std::io::Error,
}

/// A new connection to `port` of the host.
pub(crate) async fn dial(port: u32) -> Result<VsockStream, DialError> {
    let address = VsockAddr::new(ports::HOST_CID, port);
    VsockStream::connect(address)
        .await
        .map_err(|source| DialError { port, source })
}

/// A stream that tells when its peer is gone: the end of the control
/// connection is the end of the guest, and the RPC library does not report it.
pub(crate) struct Watched<S> {
    stream: S,
    gone: Option<oneshot::Sender<()>>,
}

impl<S> Watched<S> {
    /// Wraps `stream`; the receiver resolves when it ends, fails or is dropped.
    pub(crate) fn new(stream: S) -> (Self, oneshot::Receiver<()>) {
        let (gone, ended) = oneshot::channel();
        (
            Self {
                stream,
                gone: Some(gone),
            },
            ended,
        )
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let ended = match &result {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            // Dropping the sender resolves the receiver.
            self.gone = None;
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_peer_going_away_is_told() {
        let (mut host, guest) = tokio::io::duplex(64);
        let (mut guest, mut ended) = Watched::new(guest);
        host.write_all(b"x").await.unwrap();
        assert_eq!(guest.read_u8().await.unwrap(), b'x');
        assert!(
            ended
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );

        drop(host);
        assert_eq!(guest.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(ended.await.is_err());
    }
}
