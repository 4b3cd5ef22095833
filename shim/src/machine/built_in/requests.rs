//! What is asked of a VMM whose machine runs. It answers in order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use vmm_api::{Answer, Pluggable, Request};

use crate::machine::descriptors::send;

/// An answer that takes longer is not coming: nothing that is asked for waits
/// for the guest.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that was not met.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("ask the VMM")]
    Send(#[source] io::Error),
    #[error("the VMM ended without an answer")]
    Gone,
    #[error("the VMM has not answered for {} s", PATIENCE.as_secs())]
    Silent,
    #[error("the VMM refuses: {why}")]
    Refused { why: String },
    #[error("the VMM's answer belongs to another request: {answer:?}")]
    Answer { answer: Answer },
}

/// Who waits for an answer, in the order of their requests.
#[derive(Default)]
pub(super) struct Waiting(Mutex<VecDeque<Asked>>);

/// None: nobody wants to know.
type Asked = Option<oneshot::Sender<Answer>>;

impl Waiting {
    pub(super) fn add(&self, asked: Asked) {
        self.lock().push_back(asked);
    }

    /// Who asked for the answer that has come.
    pub(super) fn next(&self) -> Asked {
        self.lock().pop_front().flatten()
    }

    /// Nobody is answered any more.
    pub(super) fn give_up(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks.
pub(crate) struct Requests {
    socket: Arc<UnixStream>,
    waiting: Arc<Waiting>,
    /// Held while one is sent: who is first in the queue is first on the wire.
    turn: AsyncMutex<()>,
}

impl Requests {
    pub(super) fn new(socket: Arc<UnixStream>, waiting: Arc<Waiting>) -> Self {
        let turn = AsyncMutex::default();
        Self {
            socket,
            waiting,
            turn,
        }
    }

    /// Puts a device, whose descriptor `fd` is, into a slot of the machine. The
    /// slot's name, by which the agent has a driver take the device.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub(crate) async fn attach(
        &self,
        device: Pluggable,
        fd: OwnedFd,
    ) -> Result<String, RequestError> {
        let request = Request::Attach { device };
        match self.ask(&request, &[fd.as_raw_fd()]).await? {
            Answer::Attached { slot } => Ok(slot),
            answer => Err(RequestError::Answer { answer }),
        }
    }

    /// Takes the device out of a slot, which the agent has let its driver let
    /// go of.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub(crate) async fn detach(&self, slot: String) -> Result<(), RequestError> {
        self.done(&Request::Detach { slot }).await
    }

    /// Has so many processors run.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub(crate) async fn resize_vcpus(&self, vcpus: u32) -> Result<(), RequestError> {
        self.done(&Request::ResizeVcpus { vcpus }).await
    }

    /// Has the guest be told how much memory it is to have.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub(crate) async fn resize_memory(&self, memory_mib: u64) -> Result<(), RequestError> {
        self.done(&Request::ResizeMemory { memory_mib }).await
    }

    async fn done(&self, request: &Request) -> Result<(), RequestError> {
        match self.ask(request, &[]).await? {
            Answer::Done => Ok(()),
            answer => Err(RequestError::Answer { answer }),
        }
    }

    async fn ask(&self, request: &Request, fds: &[RawFd]) -> Result<Answer, RequestError> {
        let answer = self.send(request, fds).await.map_err(RequestError::Send)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Err(_) => Err(RequestError::Silent),
            Ok(Err(_)) => Err(RequestError::Gone),
            Ok(Ok(Answer::Refused { why })) => Err(RequestError::Refused { why }),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    async fn send(
        &self,
        request: &Request,
        fds: &[RawFd],
    ) -> io::Result<oneshot::Receiver<Answer>> {
        let message = serde_json::to_vec(request)?;
        let _turn = self.turn.lock().await;
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let send = || {
            send(self.socket.as_raw_fd(), &message, fds)?;
            // It is sent once, and then the answer can come.
            self.waiting.add(sender.take());
            Ok(())
        };
        self.socket.async_io(Interest::WRITABLE, send).await?;
        Ok(receiver)
    }
}
