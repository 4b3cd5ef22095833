//! Watches containers for kills by the kernel for want of memory.
//!
//! `memory.events` counts them; inotify tells when the file has changed (kernel
//! documentation, "Control Group v2", memory interface files).

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::Id;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::descriptor;
use crate::events::Events;

/// One inotify instance for all containers.
pub(crate) struct OomWatch {
    inotify: AsyncFd<OwnedFd>,
    watched: Mutex<HashMap<i32, Watched>>,
    events: Arc<Events>,
}

struct Watched {
    container: Id,
    file: PathBuf,
    /// Kills told already.
    told: u64,
}

impl OomWatch {
    pub(crate) fn new(events: Arc<Events>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let inotify = descriptor::watch(inotify, Interest::READABLE)?;
        Ok(Self {
            inotify,
            watched: Mutex::default(),
            events,
        })
    }

    /// From now on kills in `cgroup` are told as `container`'s. The watch ends
    /// with the cgroup.
    pub(crate) fn watch(&self, container: &Id, cgroup: &Path) -> io::Result<()> {
        let file = cgroup.join("memory.events");
        let watch = inotify::add_watch(self.inotify.get_ref(), &file, WatchFlags::MODIFY)?;
        let watched = Watched {
            container: container.clone(),
            file,
            told: 0,
        };
        self.table().insert(watch, watched);
        Ok(())
    }

    /// Tells at once what has not been told of `container` yet: before its exit.
    pub(crate) fn check(&self, container: &Id) {
        for watched in self.table().values_mut() {
            if watched.container == *container {
                self.tell(watched);
            }
        }
    }

    /// Tells of kills as they happen.
    pub(crate) async fn run(self: Arc<Self>) {
        while let Ok(mut ready) = self.inotify.readable().await {
            match self.read() {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Ok(()) | Err(Errno::INTR) => {}
                Err(errno) => {
                    tracing::error!(%errno, "watch for kills for want of memory");
                    return;
                }
            }
        }
    }

    /// Takes what inotify has, up to `AGAIN`.
    fn read(&self) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            let event = reader.next()?;
            let mut table = self.table();
            if event.events().contains(ReadFlags::IGNORED) {
                table.remove(&event.wd());
            } else if let Some(watched) = table.get_mut(&event.wd()) {
                self.tell(watched);
            }
        }
    }

    fn tell(&self, watched: &mut Watched) {
        let kills = kills(&watched.file).unwrap_or(watched.told);
        if kills > watched.told {
            watched.told = kills;
            self.events.out_of_memory(&watched.container);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<i32, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kills(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(cgroup: &Path, kills: u64) {
        std::fs::write(
            cgroup.join("memory.events"),
            format!("oom 9\noom_kill {kills}\n"),
        )
        .unwrap();
    }

    fn watch(cgroup: &Path) -> (Arc<OomWatch>, Arc<Events>) {
        let events = Arc::new(Events::default());
        let watch = OomWatch::new(Arc::clone(&events)).unwrap();
        write(cgroup, 0);
        watch.watch(&Id::new("c1").unwrap(), cgroup).unwrap();
        (Arc::new(watch), events)
    }

    #[tokio::test]
    async fn a_kill_is_told_when_it_happens() {
        let cgroup = tempfile::tempdir().unwrap();
        let (watch, events) = watch(cgroup.path());
        let mut reader = events.subscribe().unwrap();
        tokio::spawn(watch.run());
        write(cgroup.path(), 1);
        let event = tokio::time::timeout(Duration::from_secs(5), reader.recv())
            .await
            .unwrap();
        assert_eq!(event.unwrap().out_of_memory().container_id, "c1");
    }

    #[tokio::test]
    async fn a_kill_is_told_once_and_before_the_exit() {
        let cgroup = tempfile::tempdir().unwrap();
        let (watch, events) = watch(cgroup.path());
        let mut reader = events.subscribe().unwrap();
        let id = Id::new("c1").unwrap();
        watch.check(&id);
        assert!(reader.try_recv().is_err());
        write(cgroup.path(), 2);
        watch.check(&id);
        watch.check(&id);
        assert!(reader.try_recv().is_ok());
        assert!(reader.try_recv().is_err());
    }
}
