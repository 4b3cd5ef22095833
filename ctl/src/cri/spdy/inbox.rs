//! Where received data waits, one bounded queue per stream.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces of data that wait for a reader.
const QUEUE: usize = 16;

type Queues = HashMap<u32, mpsc::Sender<Bytes>>;

/// The queues of a connection, by stream. None once the connection has ended.
#[derive(Debug)]
pub(super) struct Inboxes(Mutex<Option<Queues>>);

impl Default for Inboxes {
    fn default() -> Self {
        Self(Mutex::new(Some(Queues::new())))
    }
}

impl Inboxes {
    /// Makes the queue of a new stream. None once the connection has ended.
    pub(super) fn add(&self, stream: u32) -> Option<mpsc::Receiver<Bytes>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.lock().as_mut()?.insert(stream, sender);
        Some(receiver)
    }

    pub(super) fn get(&self, stream: u32) -> Option<mpsc::Sender<Bytes>> {
        self.lock().as_ref()?.get(&stream).cloned()
    }

    /// Ends one stream: its reader gets what waits and then the end.
    pub(super) fn remove(&self, stream: u32) {
        if let Some(queues) = self.lock().as_mut() {
            queues.remove(&stream);
        }
    }

    /// Ends all streams, those too that somebody is about to open.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Queues>> {
        // No holder of the lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_removed_stream_ends_after_what_waits() {
        let inboxes = Inboxes::default();
        let mut receiver = inboxes.add(1).unwrap();
        let inbox = inboxes.get(1).unwrap();
        inbox.send(Bytes::from_static(b"last")).await.unwrap();
        drop(inbox);
        inboxes.remove(1);
        assert_eq!(receiver.recv().await.as_deref(), Some(&b"last"[..]));
        assert_eq!(receiver.recv().await, None);
    }

    #[test]
    fn nothing_opens_after_the_end() {
        let inboxes = Inboxes::default();
        inboxes.end();
        assert!(inboxes.add(1).is_none());
    }
}
