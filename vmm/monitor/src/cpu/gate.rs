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
    /// Processors from this number on shall end.
    kept: u8,
    parked: usize,
}

impl State {
    fn holds(&self, id: u8) -> bool {
        self.wanted == Wanted::Park && id < self.kept
    }
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
                kept: u8::MAX,
                parked: 0,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Gate {
    /// For the thread of processor `id`: waits as long as it shall; `false`
    /// when it shall end.
    #[must_use]
    pub fn pass(&self, id: u8) -> bool {
        let mut state = self.lock();
        if state.holds(id) {
            state.parked += 1;
            self.changed.notify_all();
            while state.holds(id) {
                state = self.wait(state);
            }
            state.parked -= 1;
        }
        state.wanted == Wanted::Run && id < state.kept
    }

    /// Tells the threads of all processors but the first `count` to end. Those
    /// in the guest have to be kicked out of it.
    pub fn keep(&self, count: u8) {
        self.lock().kept = count;
        self.changed.notify_all();
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
        let threads = [0, 1, 2].map(|id| {
            let (gate, steps) = (Arc::clone(&gate), Arc::clone(&steps));
            std::thread::spawn(move || {
                while gate.pass(id) {
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

    #[test]
    fn those_that_are_not_kept_end_even_where_they_wait() {
        let gate = Arc::new(Gate::default());
        gate.tell(Wanted::Park);
        let [first, second] = [0, 1].map(|id| {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || gate.pass(id))
        });
        gate.all_parked(2);
        gate.keep(1);
        assert!(!second.join().unwrap());
        gate.all_parked(1);
        assert!(!gate.pass(1));
        gate.tell(Wanted::Run);
        assert!(first.join().unwrap());
        gate.keep(2);
        assert!(gate.pass(1));
    }
}
