//! The events of the host's side: one epoll set, which itself can be waited
//! for in another one.
//!
//! Sockets are watched by edge: a connection that has data which the guest
//! cannot take yet causes no events while it waits.

use crate::state::verdict::Id;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

const HANDOVER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const AGAIN: u64 = u64::MAX - 2;

/// Events taken at once.
const BATCH: usize = 64;

/// Something happened on the host's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// The socket of a connection.
    Connection(Id, Readiness),
    /// The handover socket.
    Handover(Readiness),
    /// The time set with [`Events::wake_at`] has come.
    Timer,
    /// [`Events::wake_again`] was called.
    Again,
}

/// What can be done with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Reading gives data, or the end.
    pub readable: bool,
    /// Writing may succeed.
    pub writable: bool,
    /// The other end is closed.
    pub hung_up: bool,
}

impl From<EpollFlags> for Readiness {
    fn from(flags: EpollFlags) -> Self {
        let hung_up = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        Self {
            readable: hung_up || flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP),
            writable: flags.contains(EpollFlags::EPOLLOUT),
            hung_up,
        }
    }
}

/// The epoll set with its timer and its wake-up.
#[derive(Debug)]
pub struct Events {
    epoll: Epoll,
    timer: TimerFd,
    again: EventFd,
}

impl Events {
    /// A set that watches `handover`.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn new(handover: BorrowedFd<'_>) -> Result<Self, Errno> {
        let events = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )?,
            again: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        };
        events.watch_socket(handover, HANDOVER)?;
        let readable = EpollFlags::EPOLLIN;
        events
            .epoll
            .add(&events.timer, EpollEvent::new(readable, TIMER))?;
        events
            .epoll
            .add(&events.again, EpollEvent::new(readable, AGAIN))?;
        Ok(events)
    }

    /// Watches the socket of a connection until it is closed.
    ///
    /// # Errors
    /// When the kernel has no memory for it.
    pub fn watch(&self, socket: impl AsFd, id: Id) -> Result<(), Errno> {
        self.watch_socket(socket, id.0)
    }

    fn watch_socket(&self, socket: impl AsFd, token: u64) -> Result<(), Errno> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll.add(socket, EpollEvent::new(flags, token))
    }

    /// Some of the events that have happened, waiting for one at most
    /// `timeout`.
    ///
    /// # Errors
    /// Never but for a broken epoll set.
    pub fn take(&self, timeout: Duration) -> Result<Vec<HostEvent>, Errno> {
        let mut events = [EpollEvent::empty(); BATCH];
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        Ok(events[..count].iter().map(|e| self.host_event(e)).collect())
    }

    fn host_event(&self, event: &EpollEvent) -> HostEvent {
        match event.data() {
            HANDOVER => HostEvent::Handover(event.events().into()),
            TIMER => {
                // Read to rearm; whether it had expired does not matter.
                let _ = self.timer.wait();
                HostEvent::Timer
            }
            AGAIN => {
                // As above.
                let _ = self.again.read();
                HostEvent::Again
            }
            id => HostEvent::Connection(Id(id), event.events().into()),
        }
    }

    /// Causes [`HostEvent::Timer`] at `deadline`, or never.
    ///
    /// # Errors
    /// Never but for a broken timer.
    pub fn wake_at(&self, deadline: Option<Instant>, now: Instant) -> Result<(), Errno> {
        let Some(deadline) = deadline else {
            return self.timer.unset();
        };
        // A timer of length zero would be one that is switched off.
        let wait = deadline
            .saturating_duration_since(now)
            .max(Duration::from_millis(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.timer.set(expiration, TimerSetTimeFlags::empty())
    }

    /// Causes [`HostEvent::Again`]: there is more to do, but others are to
    /// have their turn first.
    ///
    /// # Errors
    /// Never but for a broken eventfd.
    pub fn wake_again(&self) -> Result<(), Errno> {
        self.again.write(1).map(drop)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const NOW: Duration = Duration::ZERO;

    fn events() -> (Events, UnixStream) {
        let (handover, shim) = UnixStream::pair().unwrap();
        let events = Events::new(handover.as_fd()).unwrap();
        // The set watches a descriptor only while someone holds it.
        std::mem::forget(handover);
        events.take(NOW).unwrap();
        (events, shim)
    }

    #[test]
    fn an_edge_is_told_once() {
        let (events, _shim) = events();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        events.watch(&ours, Id(7)).unwrap();
        assert_eq!(events.take(NOW).unwrap().len(), 1, "writable");
        assert_eq!(events.take(NOW).unwrap(), []);
        theirs.write_all(b"x").unwrap();
        let [HostEvent::Connection(Id(7), readiness)] = events.take(NOW).unwrap()[..] else {
            panic!("no event");
        };
        assert!(readiness.readable && !readiness.hung_up);
        assert_eq!(events.take(NOW).unwrap(), [], "unread data makes no noise");
        drop(theirs);
        let [HostEvent::Connection(Id(7), readiness)] = events.take(NOW).unwrap()[..] else {
            panic!("no event");
        };
        assert!(readiness.readable && readiness.hung_up);
        assert_eq!(events.take(NOW).unwrap(), [], "nor does a closed end");
    }

    #[test]
    fn a_closed_handover_socket_is_told() {
        let (events, shim) = events();
        drop(shim);
        let [HostEvent::Handover(readiness)] = events.take(NOW).unwrap()[..] else {
            panic!("no event");
        };
        assert!(readiness.hung_up);
    }

    #[test]
    fn waking_again_happens_once_and_a_timer_when_due() {
        let (events, _shim) = events();
        events.wake_again().unwrap();
        events.wake_again().unwrap();
        assert_eq!(events.take(NOW).unwrap(), [HostEvent::Again]);
        assert_eq!(events.take(NOW).unwrap(), []);

        let now = Instant::now();
        events.wake_at(Some(now), now).unwrap();
        assert_eq!(
            events.take(Duration::from_secs(5)).unwrap(),
            [HostEvent::Timer]
        );
        events
            .wake_at(Some(now + Duration::from_millis(20)), now)
            .unwrap();
        events.wake_at(None, now).unwrap();
        assert_eq!(events.take(Duration::from_millis(60)).unwrap(), []);
    }
}
