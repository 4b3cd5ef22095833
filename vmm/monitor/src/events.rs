//! What the main thread waits for.
//!
//! An epoll set with a token for each descriptor. Any thread may add to it:
//! a device starts on a processor's thread and is served on the main one. A
//! second set has only what concerns a machine that is paused, whose devices
//! hold still.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::virtio::Slot;

/// Events that are taken at once.
const BATCH: usize = 16;

/// Whose descriptor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The control socket has a message, or is closed.
    Control,
    /// The machine is over.
    Over,
    /// Work of disks was finished.
    Disks,
    /// A device's.
    Device {
        /// Where the device is.
        slot: Slot,
        /// Which of its descriptors.
        source: u16,
    },
}

impl Token {
    /// Whether a machine that is paused has to hear of it, too.
    fn is_for_paused(self) -> bool {
        matches!(self, Self::Control | Self::Over)
    }

    const CONTROL: u64 = 1 << 32;
    const OVER: u64 = 2 << 32;
    const DISKS: u64 = 3 << 32;

    fn encode(self) -> u64 {
        match self {
            Self::Control => Self::CONTROL,
            Self::Over => Self::OVER,
            Self::Disks => Self::DISKS,
            Self::Device { slot, source } => {
                let slot = slot.number() as u64;
                slot << 16 | u64::from(source)
            }
        }
    }

    fn decode(data: u64) -> Option<Self> {
        match data {
            Self::CONTROL => Some(Self::Control),
            Self::OVER => Some(Self::Over),
            Self::DISKS => Some(Self::Disks),
            _ => Some(Self::Device {
                slot: Slot::new(usize::try_from(data >> 16).ok()?)?,
                source: u16::try_from(data & 0xffff).ok()?,
            }),
        }
    }
}

/// The sets. Clones are the same sets.
#[derive(Clone)]
pub struct Events(Arc<Sets>);

struct Sets {
    all: Epoll,
    paused: Epoll,
}

impl Events {
    /// Empty sets.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn new() -> io::Result<Self> {
        let set = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        Ok(Self(Arc::new(Sets {
            all: set()?,
            paused: set()?,
        })))
    }

    /// Watches `fd` until it is closed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        self.add(fd, token, EpollFlags::EPOLLIN)
    }

    fn add(&self, fd: impl AsFd, token: Token, flags: EpollFlags) -> io::Result<()> {
        let event = EpollEvent::new(flags, token.encode());
        if token.is_for_paused() {
            self.0.paused.add(&fd, event)?;
        }
        Ok(self.0.all.add(fd, event)?)
    }

    /// Waits for events, and lists them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wait(&self) -> io::Result<Vec<Token>> {
        Self::wait_for(&self.0.all)
    }

    /// The same while the machine is paused: devices' events stay for later.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wait_paused(&self) -> io::Result<Vec<Token>> {
        Self::wait_for(&self.0.paused)
    }

    fn wait_for(set: &Epoll) -> io::Result<Vec<Token>> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match set.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            waited => waited?,
        };
        let ready = events.iter().take(count);
        Ok(ready.filter_map(|e| Token::decode(e.data())).collect())
    }

    /// For a device in `slot`.
    #[must_use]
    pub fn sources(&self, slot: Slot) -> Sources {
        Sources {
            events: self.clone(),
            slot,
            watched: Vec::new(),
        }
    }
}

/// What to wait for of a device's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That it can be read.
    Readable,
    /// That its other end is closed.
    HangUp,
}

/// The descriptors that one device watches. They are forgotten when this is
/// dropped.
pub struct Sources {
    events: Events,
    slot: Slot,
    watched: Vec<Watched>,
}

struct Watched {
    /// A descriptor of our own: whatever happens to the device's, this one can
    /// be taken out of the set again.
    fd: OwnedFd,
    source: u16,
    flags: EpollFlags,
    /// It is in the set.
    active: bool,
}

impl Sources {
    /// Where the device is.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Calls the device's `serve` with `source` when `fd` is ready.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, source: u16, what: Interest) -> io::Result<()> {
        self.watched.push(Watched {
            fd: fd.try_clone_to_owned()?,
            source,
            flags: match what {
                Interest::Readable => EpollFlags::EPOLLIN,
                Interest::HangUp => EpollFlags::EPOLLRDHUP,
            },
            active: false,
        });
        self.resume(source)
    }

    /// Does not watch what it watches under `source` until [`Self::resume`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&mut self, source: u16) -> io::Result<()> {
        for watched in of(&mut self.watched, source).filter(|watched| watched.active) {
            // Out of the set: an error would be told even without interest.
            self.events.0.all.delete(&watched.fd)?;
            watched.active = false;
        }
        Ok(())
    }

    /// Watches again what it watched under `source`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self, source: u16) -> io::Result<()> {
        let token = Token::Device {
            slot: self.slot,
            source,
        };
        for watched in of(&mut self.watched, source).filter(|watched| !watched.active) {
            self.events.add(&watched.fd, token, watched.flags)?;
            watched.active = true;
        }
        Ok(())
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        for watched in self.watched.iter().filter(|watched| watched.active) {
            // It is in the set: it was added, and only this removes it.
            let _ = self.events.0.all.delete(&watched.fd);
        }
    }
}

fn of(watched: &mut [Watched], source: u16) -> impl Iterator<Item = &mut Watched> {
    let all = watched.iter_mut();
    all.filter(move |watched| watched.source == source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn tokens_survive_the_kernel() {
        let slot = Slot::new(31).unwrap();
        for token in [
            Token::Control,
            Token::Over,
            Token::Disks,
            Token::Device { slot, source: 0 },
            Token::Device {
                slot,
                source: u16::MAX,
            },
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(32 << 16), None);
        assert_eq!(Token::decode(u64::MAX), None);
    }

    #[test]
    fn what_a_device_watches_is_forgotten_with_it() {
        let events = Events::new().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (other, mut end) = UnixStream::pair().unwrap();
        events.watch(&other, Token::Control).unwrap();
        let slot = Slot::new(3).unwrap();
        let mut sources = events.sources(slot);
        sources
            .watch(theirs.as_fd(), 7, Interest::Readable)
            .unwrap();
        ours.write_all(b"x").unwrap();
        let token = Token::Device { slot, source: 7 };
        assert_eq!(events.wait().unwrap(), [token]);
        drop(sources);
        end.write_all(b"x").unwrap();
        assert_eq!(events.wait().unwrap(), [Token::Control]);
    }

    #[test]
    fn what_is_paused_is_not_told_until_it_is_resumed() {
        let events = Events::new().unwrap();
        let [(mut ours, theirs), (other, mut end)] = [(); 2].map(|()| UnixStream::pair().unwrap());
        events.watch(&other, Token::Control).unwrap();
        let slot = Slot::new(5).unwrap();
        let mut sources = events.sources(slot);
        sources
            .watch(theirs.as_fd(), 2, Interest::Readable)
            .unwrap();
        ours.write_all(b"x").unwrap();
        end.write_all(b"x").unwrap();
        for source in [2, 2, 9] {
            sources.pause(source).unwrap();
        }
        assert_eq!(events.wait().unwrap(), [Token::Control]);
        for _ in 0..2 {
            sources.resume(2).unwrap();
        }
        let token = Token::Device { slot, source: 2 };
        assert!(events.wait().unwrap().contains(&token));
        sources.pause(2).unwrap();
        drop(sources);
        assert_eq!(events.wait().unwrap(), [Token::Control]);
    }

    #[test]
    fn devices_wait_while_the_machine_is_paused() {
        let events = Events::new().unwrap();
        let [(mut ours, theirs), (other, mut end)] = [(); 2].map(|()| UnixStream::pair().unwrap());
        events.watch(&other, Token::Control).unwrap();
        let slot = Slot::new(5).unwrap();
        let mut sources = events.sources(slot);
        sources
            .watch(theirs.as_fd(), 2, Interest::Readable)
            .unwrap();
        ours.write_all(b"x").unwrap();
        end.write_all(b"x").unwrap();
        assert_eq!(events.wait_paused().unwrap(), [Token::Control]);
        let token = Token::Device { slot, source: 2 };
        assert!(events.wait().unwrap().contains(&token));
    }

    #[test]
    fn a_hang_up_is_told_and_data_is_not() {
        let events = Events::new().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut sources = events.sources(Slot::new(0).unwrap());
        sources.watch(theirs.as_fd(), 1, Interest::HangUp).unwrap();
        ours.write_all(b"x").unwrap();
        let (other, mut end) = UnixStream::pair().unwrap();
        events.watch(&other, Token::Control).unwrap();
        end.write_all(b"x").unwrap();
        assert_eq!(events.wait().unwrap(), [Token::Control]);
        drop(ours);
        assert_eq!(events.wait().unwrap().len(), 2);
    }
}
