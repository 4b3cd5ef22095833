//! Volumes of the host that the guest has copies of: when kubelet writes one anew,
//! the guest is told to copy it again.
//!
//! inotify wakes us; what has changed is then looked for. Hosts bound how many
//! users of inotify there are (`fs.inotify.max_user_instances`, 128 for root on
//! many): beyond that, the volumes are looked at once a second.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use protocol::agent::CopiedVolume;
use protocol::{Code, Failure};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::spec::{Written, revision};

/// Between looks without inotify, and before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often in a row something may fail before it is left until the next change.
const TRIES: u32 = 10;

/// The followed volumes of a pod.
#[derive(Default)]
pub(super) struct Follower {
    volumes: Arc<Mutex<Vec<Followed>>>,
    running: Mutex<Option<Running>>,
}

struct Followed {
    volume: Written,
    /// What the guest has.
    revision: String,
    failures: u32,
}

struct Running {
    /// `None` when there is no inotify to be had, for all volumes.
    inotify: watch::Sender<Option<Inotify>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows `volume`, which the guest is to have at the revision in the answer.
    ///
    /// # Errors
    ///
    /// It is not what kubelet writes any more.
    pub(super) fn follow(&self, agent: &Agent, volume: &Written) -> io::Result<CopiedVolume> {
        // Locked until it is known at what revision: who is woken by a change waits.
        let mut all = lock(&self.volumes);
        let new = !all.iter().any(|known| known.volume == *volume);
        if new {
            // Before it is looked at, so that no change is missed.
            self.watch(agent, &volume.host);
        }
        let revision = revision(&volume.host)?;
        if new {
            all.push(Followed {
                volume: volume.clone(),
                revision: revision.clone(),
                failures: 0,
            });
        }
        Ok(volume.at(&revision))
    }

    fn watch(&self, agent: &Agent, folder: &Path) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.get_or_insert_with(|| {
            let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
            let inotify = logged(Inotify::init(flags), folder);
            Running::start(inotify, Arc::clone(&self.volumes), agent.clone())
        });
        running.inotify.send_if_modified(|inotify| {
            let Some(there) = inotify else { return false };
            // The writer renames its link `..data` when all is written.
            let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
            let added = logged(there.add_watch(folder, flags), folder);
            if added.is_none() {
                *inotify = None;
            }
            added.is_none()
        });
    }
}

impl Running {
    fn start(inotify: Option<Inotify>, volumes: Arc<Mutex<Vec<Followed>>>, agent: Agent) -> Self {
        let (inotify, receiver) = watch::channel(inotify);
        let task = tokio::spawn(run(volumes, agent, receiver));
        Self { inotify, task }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let running = self.running.get_mut();
        if let Some(running) = running.unwrap_or_else(PoisonError::into_inner) {
            running.task.abort();
        }
    }
}

fn lock(volumes: &Mutex<Vec<Followed>>) -> MutexGuard<'_, Vec<Followed>> {
    volumes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn logged<T>(result: nix::Result<T>, folder: &Path) -> Option<T> {
    let failed = |error: &nix::Error| {
        tracing::warn!(
            %error, ?folder,
            "watch a volume by inotify: the pod's are looked at once a second instead; raise \
             fs.inotify.max_user_instances or max_user_watches"
        );
    };
    result.inspect_err(failed).ok()
}

/// Tells the guest of what changes, until that is gone.
async fn run(
    volumes: Arc<Mutex<Vec<Followed>>>,
    agent: Agent,
    mut inotify: watch::Receiver<Option<Inotify>>,
) {
    let mut fd = descriptor(&inotify);
    loop {
        let again = match refresh(&volumes, &agent).await {
            Ok(again) => again,
            Err(GuestGone) => return,
        };
        match &fd {
            Some(there) => tokio::select! {
                () = woken(there) => {}
                changed = inotify.changed() => match changed {
                    Ok(()) => fd = descriptor(&inotify),
                    Err(_) => return,
                },
                () = sleep(PAUSE), if again => {}
            },
            None => sleep(PAUSE).await,
        }
    }
}

/// A copy of inotify's descriptor, to wait for: as of a pipe, it is read from.
fn descriptor(inotify: &watch::Receiver<Option<Inotify>>) -> Option<Receiver> {
    let inotify = inotify.borrow();
    let fd = inotify.as_ref()?.as_fd().try_clone_to_owned().ok()?;
    Receiver::from_owned_fd_unchecked(fd).ok()
}

/// Returns when there are events, which are forgotten.
async fn woken(events: &Receiver) {
    let mut forgotten = [0; 4096];
    while events.readable().await.is_ok() {
        if events.try_read(&mut forgotten).is_ok() {
            return;
        }
    }
    // The event loop has ended, and this task with it.
    std::future::pending().await
}

struct GuestGone;

/// Brings to the guest what has changed; whether something is to be tried again.
async fn refresh(volumes: &Mutex<Vec<Followed>>, agent: &Agent) -> Result<bool, GuestGone> {
    let mut again = false;
    for change in changes(volumes) {
        let result = agent.refresh_volume(&change).await;
        if matches!(&result, Err(failure) if failure.code == Code::Unavailable) {
            return Err(GuestGone);
        }
        again |= settle(&mut lock(volumes), &change, result);
    }
    Ok(again)
}

/// What the guest does not have yet.
fn changes(volumes: &Mutex<Vec<Followed>>) -> Vec<CopiedVolume> {
    let mut volumes = lock(volumes);
    let change = |followed: &mut Followed| {
        // Gone with its pod, or in the middle of a change: then there is another event.
        let now = revision(&followed.volume.host).ok()?;
        let new = now != followed.revision;
        new.then(|| followed.volume.at(&now))
    };
    volumes.iter_mut().filter_map(change).collect()
}

/// Notes what came of `change`; whether it is to be tried again.
fn settle(volumes: &mut [Followed], change: &CopiedVolume, result: Result<(), Failure>) -> bool {
    let found = volumes
        .iter_mut()
        .find(|one| one.volume.name == change.name);
    let Some(followed) = found else { return false };
    match result {
        Ok(()) => {
            followed.revision.clone_from(&change.revision);
            followed.failures = 0;
            false
        }
        Err(failure) => {
            followed.failures += 1;
            let volume = &followed.volume.host;
            tracing::warn!(error = failure.message, ?volume, "copy a changed volume");
            followed.failures % TRIES != 0
        }
    }
}

#[cfg(test)]
mod tests;
