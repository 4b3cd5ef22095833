//! Exit status of every child of PID 1: containers, execs, helpers, and the
//! orphans that end up here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// 0..=255, or 128 + signal.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

/// Reaps everything, and hands each exit to whoever claimed the process.
#[derive(Default)]
pub(crate) struct Reaper(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// Claimed processes that live.
    claimed: HashMap<Pid, oneshot::Sender<Exit>>,
    /// Exits nobody claimed yet, kept while somebody may still do so.
    unclaimed: HashMap<Pid, Exit>,
    /// How many are about to claim.
    expecting: usize,
}

/// While one of these lives, the exit of an unclaimed process is kept: it may
/// be of a process that a helper has started and not yet told us about.
pub(crate) struct Expectation(Arc<Reaper>);

impl Reaper {
    /// From now on keep exits for a later [`Self::claim`].
    pub(crate) fn expect(self: &Arc<Self>) -> Expectation {
        self.table().expecting += 1;
        Expectation(Arc::clone(self))
    }

    /// The exit of `pid`, whether it is still to come or has been already.
    pub(crate) fn claim(&self, pid: Pid) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.table();
        match table.unclaimed.remove(&pid) {
            // The receiver is in this very function.
            Some(exit) => drop(sender.send(exit)),
            None => drop(table.claimed.insert(pid, sender)),
        }
        receiver
    }

    /// Reaps whenever a child ends.
    pub(crate) async fn run(self: Arc<Self>, mut children: Signal) {
        loop {
            self.reap();
            if children.recv().await.is_none() {
                return;
            }
        }
    }

    fn reap(&self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(status) = status_code(status) {
                self.ended(
                    pid,
                    Exit {
                        status,
                        at: SystemTime::now(),
                    },
                );
            }
        }
    }

    fn ended(&self, pid: Pid, exit: Exit) {
        let mut table = self.table();
        match table.claimed.remove(&pid) {
            // Nobody may be waiting any more; the process is reaped all the same.
            Some(sender) => drop(sender.send(exit)),
            None if table.expecting > 0 => drop(table.unclaimed.insert(pid, exit)),
            None => {}
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let mut table = self.0.table();
        table.expecting -= 1;
        if table.expecting == 0 {
            table.unclaimed.clear();
        }
    }
}

/// The signal that [`Reaper::run`] waits for. To be set up before the first
/// child is started.
pub(crate) fn children() -> std::io::Result<Signal> {
    signal(SignalKind::child())
}

fn status_code(status: WaitStatus) -> Option<u32> {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u32::try_from(code).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    fn exit(status: u32) -> Exit {
        Exit {
            status,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_exit_before_its_claim_is_not_lost() {
        let reaper = Arc::new(Reaper::default());
        let expectation = reaper.expect();
        reaper.ended(pid(7), exit(3));
        assert_eq!(reaper.claim(pid(7)).try_recv(), Ok(exit(3)));
        drop(expectation);
    }

    #[test]
    fn an_exit_after_its_claim_is_delivered() {
        let reaper = Arc::new(Reaper::default());
        let mut claimed = reaper.claim(pid(7));
        assert!(claimed.try_recv().is_err());
        reaper.ended(pid(7), exit(137));
        assert_eq!(claimed.try_recv(), Ok(exit(137)));
    }

    #[test]
    fn exits_of_orphans_are_not_kept() {
        let reaper = Arc::new(Reaper::default());
        reaper.ended(pid(7), exit(0));
        assert!(reaper.table().unclaimed.is_empty());

        let expectation = reaper.expect();
        reaper.ended(pid(8), exit(0));
        drop(expectation);
        assert!(reaper.table().unclaimed.is_empty());
    }

    #[test]
    fn one_expectation_ending_leaves_the_others_exits() {
        let reaper = Arc::new(Reaper::default());
        let (first, _second) = (reaper.expect(), reaper.expect());
        reaper.ended(pid(7), exit(1));
        drop(first);
        assert_eq!(reaper.claim(pid(7)).try_recv(), Ok(exit(1)));
    }

    #[test]
    // Waited for by its number, as the reaper does.
    #[allow(clippy::zombie_processes)]
    fn the_status_is_the_code_or_128_and_the_signal() {
        let run = |script: &str| {
            let child = std::process::Command::new("/bin/sh")
                .args(["-c", script])
                .spawn()
                .unwrap();
            let pid = Pid::from_raw(child.id().try_into().unwrap());
            let (_, status) = rustix::process::waitpid(pid, WaitOptions::empty())
                .unwrap()
                .unwrap();
            status_code(status)
        };
        assert_eq!(run("exit 7"), Some(7));
        assert_eq!(run("kill -9 $$"), Some(137));
    }
}
