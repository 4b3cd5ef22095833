//! When the shim ends.

use std::time::Duration;

use protocol::Id;

use super::container::Container;
use super::state::State;
use super::{Inner, Pod};

/// How long containers may be left once the pod itself is gone. Their creation may have
/// been abandoned, which ends with that of the VM at the latest; or containerd deletes
/// them after the pod.
const LEFT: Duration = Duration::from_secs(60);

/// Until the answer to the last deletion has been written: the end closes its
/// connection, which containerd would take for a failure.
const ANSWER: Duration = Duration::from_millis(10);

impl Pod {
    /// Waits until the shim is to end.
    pub(crate) async fn over(&self) {
        self.0.over.notified().await;
    }

    /// Ends the shim when there is nothing left for it to do, or `now`. containerd does
    /// not ask again once the pod is deleted: then what is left is waited for.
    pub(crate) fn shutdown(&self, now: bool) {
        let inner = self.lock();
        if now || inner.containers.is_empty() {
            self.0.over.notify_one();
        } else if !inner.has_owner() {
            tokio::spawn(self.clone().end_with_the_rest());
        }
    }

    async fn end_with_the_rest(self) {
        let empty = async {
            while !self.lock().containers.is_empty() {
                self.0.removed.notified().await;
            }
        };
        if tokio::time::timeout(LEFT, empty).await.is_err() {
            let left: Vec<_> = self.lock().containers.keys().cloned().collect();
            tracing::warn!(?left, "the pod is gone, and nobody deletes its containers");
        }
        tokio::time::sleep(ANSWER).await;
        self.0.over.notify_one();
    }

    /// Forgets a container. To be called with the state locked.
    pub(super) fn remove(&self, inner: &mut Inner, id: &Id) -> Option<Container> {
        self.0.removed.notify_one();
        let removed = inner.containers.remove(id);
        inner.apply_oom_score();
        removed
    }
}

impl Inner {
    /// Whether there is a container that has the VM, and is to stay.
    fn has_owner(&self) -> bool {
        let stays = |container: &Container| container.init.state() != State::Abandoned;
        let mut all = self.containers.values();
        all.any(|container| container.owns_vm() && stays(container))
    }
}
