//! Which connection from the guest carries which stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::Token;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, oneshot};

/// How long a connection may take to say which stream it is. The agent sends
/// the token at once; anything slower is not the agent.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that have not said yet which stream they are. Any process in
/// the guest can open some: more than this are dropped.
const MAX_UNKNOWN: usize = 64;

/// The streams that are expected from the guest, by token.
#[derive(Clone)]
pub(crate) struct Streams {
    expected: Arc<Mutex<HashMap<Token, oneshot::Sender<UnixStream>>>>,
    unknown: Arc<Semaphore>,
}

/// A stream that is expected; dropped, it is no longer.
pub(crate) struct Expected {
    token: Token,
    streams: Streams,
    arrival: oneshot::Receiver<UnixStream>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self {
            expected: Arc::default(),
            unknown: Arc::new(Semaphore::new(MAX_UNKNOWN)),
        }
    }

    /// Expects one more stream under a fresh token.
    pub(crate) fn expect(&self) -> Expected {
        let token = Token::new(rand::random());
        let (sender, arrival) = oneshot::channel();
        self.lock().insert(token, sender);
        Expected {
            token,
            streams: self.clone(),
            arrival,
        }
    }

    /// Takes a connection from the guest, reads its token and hands it to who
    /// expects it. Everything else is closed.
    pub(crate) fn arrived(&self, stream: UnixStream) {
        let Ok(permit) = self.unknown.clone().try_acquire_owned() else {
            return;
        };
        let streams = self.clone();
        tokio::spawn(async move {
            let identified = tokio::time::timeout(TOKEN_TIMEOUT, identify(stream)).await;
            drop(permit);
            if let Ok(Ok((token, stream))) = identified {
                streams.deliver(token, stream);
            }
        });
    }

    fn deliver(&self, token: Token, stream: UnixStream) {
        if let Some(waiting) = self.lock().remove(&token) {
            // The waiting side may just have given up: then the stream closes.
            let _ = waiting.send(stream);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Token, oneshot::Sender<UnixStream>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn identify(mut stream: UnixStream) -> std::io::Result<(Token, UnixStream)> {
    let mut token = [0; Token::LEN];
    stream.read_exact(&mut token).await?;
    Ok((Token::new(token), stream))
}

impl Expected {
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// The stream, once the agent has opened it. `None` when it never will.
    pub(crate) async fn stream(mut self) -> Option<UnixStream> {
        (&mut self.arrival).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn dial(streams: &Streams, token: &[u8]) -> UnixStream {
        let (mut guest, host) = UnixStream::pair().unwrap();
        streams.arrived(host);
        guest.write_all(token).await.unwrap();
        guest
    }

    #[tokio::test]
    async fn a_stream_reaches_who_expects_it() {
        let streams = Streams::new();
        let (one, two) = (streams.expect(), streams.expect());
        let mut guest = dial(&streams, two.token().as_bytes()).await;
        guest.write_all(b"two").await.unwrap();
        guest.shutdown().await.unwrap();

        let mut text = String::new();
        two.stream()
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "two");
        drop(one);
        assert!(streams.lock().is_empty());
    }

    #[tokio::test]
    async fn a_wrong_token_is_closed() {
        let streams = Streams::new();
        let expected = streams.expect();
        let mut guest = dial(&streams, &[0; Token::LEN]).await;
        assert_eq!(guest.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(streams.lock().len(), 1);
        drop(expected);
    }

    #[tokio::test]
    async fn silent_connections_are_bounded() {
        let streams = Streams::new();
        let mut silent = Vec::new();
        for _ in 0..MAX_UNKNOWN {
            silent.push(dial(&streams, b"x").await);
        }
        let mut over = dial(&streams, b"").await;
        assert_eq!(over.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
