//! What the host is told unasked, in order.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Id;
use protocol::agent::event::Kind;
use protocol::agent::{Event, OutOfMemory, ProcessExited};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::reaper::Exit;

/// The queue of events. There is one host, so it is read once.
pub(crate) struct Events {
    sender: UnboundedSender<Event>,
    receiver: Mutex<Option<UnboundedReceiver<Event>>>,
}

impl Default for Events {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Events {
    /// The events from the guest's start on; `None` when they are taken already.
    pub(crate) fn subscribe(&self) -> Option<UnboundedReceiver<Event>> {
        self.receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A process ended: the container's first one when `exec` is `None`.
    pub(crate) fn exited(&self, container: &Id, exec: Option<&Id>, exit: Exit) {
        self.send(Kind::Exited(ProcessExited {
            container_id: container.to_string(),
            exec_id: exec.map(ToString::to_string).unwrap_or_default(),
            status: exit.status,
            exited_at_ns: nanoseconds(exit.at),
            ..Default::default()
        }));
    }

    /// The kernel killed a process of `container` for want of memory.
    pub(crate) fn out_of_memory(&self, container: &Id) {
        self.send(Kind::OutOfMemory(OutOfMemory {
            container_id: container.to_string(),
            ..Default::default()
        }));
    }

    fn send(&self, kind: Kind) {
        // Without a reader the connection has ended, and the guest ends too.
        let _ = self.sender.send(Event {
            kind: Some(kind),
            ..Default::default()
        });
    }
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_wait_for_their_one_reader_in_order() {
        let events = Events::default();
        let id = Id::new("c1").unwrap();
        let at = UNIX_EPOCH + Duration::from_nanos(5);
        events.out_of_memory(&id);
        events.exited(&id, None, Exit { status: 137, at });

        let mut reader = events.subscribe().unwrap();
        assert!(events.subscribe().is_none());
        assert!(reader.try_recv().unwrap().has_out_of_memory());
        let event = reader.try_recv().unwrap();
        assert_eq!(
            (event.exited().status, event.exited().exited_at_ns),
            (137, 5)
        );
        assert_eq!(event.exited().exec_id, "");
    }
}
