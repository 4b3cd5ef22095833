//! Log lines on standard error, at a bounded rate: a guest can cause many of
//! them and must not fill the host's disk.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use nix::unistd::{dup2_stderr, dup2_stdout};

/// Lines that may be written at once.
const BURST: u32 = 32;
/// A further line becomes available after this time.
const REFILL: Duration = Duration::from_secs(1);

/// What standard error was when the process started.
static OUTPUT: OnceLock<File> = OnceLock::new();

/// Sets the process's logger, and turns a panic into one line and an exit.
///
/// Libraries print too, some of it at the guest's bidding and past any limit:
/// after this, what they print goes nowhere.
///
/// # Errors
///
/// If standard error is closed or there is no `/dev/null`.
pub(crate) fn start(level: LevelFilter) -> io::Result<()> {
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    OUTPUT.get_or_init(|| File::from(output));
    let nowhere = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    std::panic::set_hook(Box::new(|panic| {
        say(&panic.to_string());
        // A dead worker thread would leave the guest waiting for an answer.
        std::process::exit(101);
    }));
    let budget = Mutex::new(Budget::new(Instant::now()));
    let logger = Box::leak(Box::new(Logger { level, budget }));
    log::set_logger(logger).map_err(io::Error::other)?;
    // Errors come here even where none is written: one of them is the end.
    log::set_max_level(level.max(LevelFilter::Error));
    Ok(())
}

/// Writes one line, whatever was written before.
pub(crate) fn say(text: &str) {
    let line = format!("kata-mshv-fs: {text}\n");
    let written = match OUTPUT.get() {
        Some(mut output) => output.write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    };
    // There is nobody left to tell.
    drop(written);
}

/// Ends the process: a ring is past use. The VMM notices, and no other machine.
pub(crate) fn end(why: &str) -> ! {
    say(why);
    std::process::exit(1)
}

thread_local! {
    /// Times that this thread has failed with a ring in its turn.
    static FAILURES: Cell<u32> = const { Cell::new(0) };
}

/// This thread has a turn with a ring.
pub(crate) fn begin_turn() {
    FAILURES.set(0);
}

/// Whether virtiofsd says, and not for the first time in its turn, that a ring
/// makes no sense.
///
/// It does not tell otherwise: where event indices are in use it goes on with the
/// ring, for ever and with the ring's lock, because the index that it cannot take
/// is not the one that it stopped at. A look at the index beforehand is no help,
/// as a processor of the guest may change it in between; and not to offer event
/// indices would cost the guest an exit for each request. Once is no harm: the VMM
/// may have taken the ring back at that moment.
fn is_stuck(record: &Record<'_>) -> bool {
    is_about_a_broken_ring(record) && FAILURES.replace(FAILURES.get() + 1) > 0
}

fn is_about_a_broken_ring(record: &Record<'_>) -> bool {
    record.target() == "virtiofsd::vhost_user"
        && record
            .args()
            .to_string()
            .starts_with("processing the vring")
}

struct Logger {
    level: LevelFilter,
    budget: Mutex<Budget>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if is_stuck(record) {
            end(&format!("{}; a guest broke it", record.args()));
        }
        if !self.enabled(record.metadata()) {
            return;
        }
        let granted = match self.budget.lock() {
            Ok(mut budget) => budget.take(Instant::now()),
            Err(_) => return,
        };
        let level = record.level().as_str().to_ascii_lowercase();
        match granted {
            None => {}
            Some(0) => say(&format!("{level}: {}", record.args())),
            Some(n) => say(&format!("{level}: {} ({n} lines left out)", record.args())),
        }
    }

    fn flush(&self) {}
}

/// A token bucket that remembers what it refused.
struct Budget {
    lines: u32,
    refilled: Instant,
    refused: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            lines: BURST,
            refilled: now,
            refused: 0,
        }
    }

    /// `Some(n)` if a line may be written, `n` being the lines refused since
    /// the last one that was.
    fn take(&mut self, now: Instant) -> Option<u64> {
        while self.lines < BURST && now.duration_since(self.refilled) >= REFILL {
            self.lines += 1;
            self.refilled += REFILL;
        }
        if self.lines == BURST {
            self.refilled = now;
        }
        if self.lines == 0 {
            self.refused += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_counted() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..BURST {
            assert_eq!(budget.take(now), Some(0));
        }
        for _ in 0..1_000 {
            assert_eq!(budget.take(now), None);
        }
        assert_eq!(budget.take(now + REFILL), Some(1_000));
        assert_eq!(budget.take(now + REFILL), None);
    }

    fn record<'a>(target: &'a str, text: std::fmt::Arguments<'a>) -> Record<'a> {
        let mut record = Record::builder();
        let record = record.level(log::Level::Error).target(target);
        record.args(text).build()
    }

    #[test]
    fn one_failure_in_a_turn_is_no_end() {
        for _ in 0..3 {
            begin_turn();
            for stuck in [false, true, true] {
                let text = format_args!("processing the vring 0: IterateQueue");
                assert_eq!(is_stuck(&record("virtiofsd::vhost_user", text)), stuck);
                assert!(!is_stuck(&record("virtiofsd", format_args!("other"))));
            }
        }
    }

    #[test]
    fn only_a_broken_ring_is_the_end() {
        let broken = |target, text| is_about_a_broken_ring(&record(target, text));
        let device = "virtiofsd::vhost_user";
        assert!(broken(
            device,
            format_args!("processing the vring: IterateQueue")
        ));
        assert!(broken(
            device,
            format_args!("processing the vring 1: IterateQueue")
        ));
        assert!(!broken(
            device,
            format_args!("Migration failed: processing the vring")
        ));
        assert!(!broken(
            "virtiofsd::server",
            format_args!("processing the vring")
        ));
    }

    #[test]
    fn a_long_pause_refills_one_burst_and_no_more() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..BURST {
            budget.take(now);
        }
        let later = now + REFILL * BURST * 10;
        let granted = (0..BURST * 2).filter(|_| budget.take(later).is_some());
        assert_eq!(granted.count(), BURST as usize);
    }
}
