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
    /// Threads that ended though they were not told to.
    gone: usize,
}

impl State {
    fn holds(&self, id: u8) -> bool {
        self.wanted == Wanted::Park && id < self.kept
    }

    fn ends(&self, id: u8) -> bool {
        self.wanted == Wanted::End || id >= self.kept
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
                gone: 0,
            }),
            changed: Condvar::new(),
        }
    }
}

/// A processor's thread, for as long as there is one: nobody waits for one that
/// ends by itself, as at the machine's end, to pass the gate again.
pub struct Passer<'a> {
    gate: &'a Gate,
    id: u8,
}

impl Drop for Passer<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if !state.ends(self.id) {
            state.gone += 1;
            self.gate.changed.notify_all();
        }
    }
}

impl Gate {
    /// For the thread of processor `id`, to keep until its end.
    #[must_use]
    pub fn passer(&self, id: u8) -> Passer<'_> {
        Passer { gate: self, id }
    }

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
        !state.ends(id)
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

    /// Waits until `count` threads wait, or are gone.
    pub fn all_parked(&self, count: usize) {
        let mut state = self.lock();
        while state.wanted == Wanted::Park && state.parked + state.gone < count {
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

    /// A machine that is paused as its guest powers off.
    #[test]
    fn nobody_waits_for_a_thread_that_has_ended_by_itself() {
        let gate = Arc::new(Gate::default());
        let thread = |id, turns| {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || {
                let _passer = gate.passer(id);
                (0..turns).take_while(|_| gate.pass(id)).count()
            })
        };
        assert_eq!(thread(0, 1).join().unwrap(), 1);
        let other = thread(1, u64::MAX);
        gate.tell(Wanted::Park);
        gate.all_parked(2);
        gate.tell(Wanted::End);
        other.join().unwrap();
    }

    #[test]
    fn a_thread_that_was_told_to_end_is_not_taken_for_one_that_waits() {
        let gate = Gate::default();
        let passer = gate.passer(1);
        gate.keep(1);
        assert!(!gate.pass(1));
        drop(passer);
        assert_eq!(gate.lock().gone, 0);
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
