//! Where processors' threads are told to go on, to wait, or to end.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the threads shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Execute the guest.
    Run,
    /// Wait.
    Park,
    /// End.
    End,
}

struct State {
    wanted: Wanted,
    parked: usize,
}

/// All processors' threads pass it before each entry to the guest.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                wanted: Wanted::Run,
                parked: 0,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Gate {
    /// For a thread: waits as long as it shall; `false` when it shall end.
    #[must_use]
    pub fn pass(&self) -> bool {
        let mut state = self.lock();
        if state.wanted == Wanted::Park {
            state.parked += 1;
            self.changed.notify_all();
            while state.wanted == Wanted::Park {
                state = self.wait(state);
            }
            state.parked -= 1;
        }
        state.wanted == Wanted::Run
    }

    /// Tells the threads. Those in the guest have to be kicked out of it.
    /// There is no way back from [`Wanted::End`].
    pub fn tell(&self, wanted: Wanted) {
        let mut state = self.lock();
        if state.wanted != Wanted::End {
            state.wanted = wanted;
            self.changed.notify_all();
        }
    }

    /// Waits until `count` threads wait.
    pub fn all_parked(&self, count: usize) {
        let mut state = self.lock();
        while state.wanted == Wanted::Park && state.parked < count {
            state = self.wait(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn threads_wait_and_go_on_and_end() {
        let gate = Arc::new(Gate::default());
        let steps = Arc::new(AtomicU32::new(0));
        let threads = [0; 3].map(|_| {
            let (gate, steps) = (Arc::clone(&gate), Arc::clone(&steps));
            std::thread::spawn(move || {
                while gate.pass() {
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        gate.tell(Wanted::Park);
        gate.all_parked(3);
        let parked_at = steps.load(Ordering::Relaxed);
        std::thread::yield_now();
        assert_eq!(steps.load(Ordering::Relaxed), parked_at);
        gate.tell(Wanted::Run);
        while steps.load(Ordering::Relaxed) == parked_at {
            std::thread::yield_now();
        }
        gate.tell(Wanted::Park);
        gate.tell(Wanted::End);
        gate.tell(Wanted::Run);
        for thread in threads {
            thread.join().unwrap();
        }
        gate.all_parked(3);
    }
}
