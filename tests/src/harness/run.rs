//! One case in the bed.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use libtest_mimic::Failed;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Case, patient};
use crate::bed::{Bed, Setup};
use crate::leaks::Snapshot;

/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Lines of containerd's log that are shown with a failure.
const LOG_LINES: usize = 60;

/// Text of the last panic, with its place.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps a bed from case to case, and makes a new one after a failure.
pub(super) struct Runner {
    runtime: Runtime,
    folder: PathBuf,
    setup: Setup,
    bed: Option<(Bed, Snapshot)>,
}

impl Runner {
    pub(super) fn new(folder: PathBuf, setup: Setup) -> Result<Self> {
        panic::set_hook(Box::new(|info| {
            if let Ok(mut text) = PANIC.lock() {
                *text = info.to_string();
            }
        }));
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the cases' runtime")?;
        Ok(Self {
            runtime,
            folder,
            setup,
            bed: None,
        })
    }

    fn run(&mut self, case: &Case) -> Result<()> {
        let (bed, clean) = match self.bed.take() {
            Some(bed) => bed,
            None => self.runtime.block_on(self.make_bed())?,
        };
        let log = bed.log_length();
        let result = self.runtime.block_on(show(case, &bed, &clean));
        match result {
            Ok(()) => {
                self.bed = Some((bed, clean));
                Ok(())
            }
            // The bed is dropped with all that is in it; the next case has another.
            Err(error) => Err(with_log(error, &bed.log_since(log, LOG_LINES))),
        }
    }

    async fn make_bed(&self) -> Result<(Bed, Snapshot)> {
        let bed = Bed::up(&self.folder, self.setup).await?;
        let clean = Snapshot::take(&bed).await?;
        Ok((bed, clean))
    }
}

/// Runs `case` as one of `cargo test`'s.
pub(super) fn in_bed(runner: &Mutex<Runner>, case: &Case) -> Result<(), Failed> {
    let mut runner = runner
        .lock()
        .map_err(|_| "an earlier case broke the runner")?;
    runner
        .run(case)
        .map_err(|error| format!("{error:#}").into())
}

async fn show(case: &Case, bed: &Bed, clean: &Snapshot) -> Result<()> {
    let shown = AssertUnwindSafe((case.run)(bed)).catch_unwind();
    let limit = patient(LIMIT);
    match timeout(limit, shown).await {
        Ok(Ok(result)) => result?,
        Ok(Err(panic)) => return Err(anyhow!(panic_text(&*panic))),
        Err(_) => return Err(anyhow!("still not done after {limit:?}")),
    }
    clean.assert_nothing_more(bed).await
}

/// The hook's text, which has the place; else what the panic carries.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let hooked = PANIC.lock().map(|mut text| std::mem::take(&mut *text));
    match hooked {
        Ok(text) if !text.is_empty() => text,
        _ => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}

fn with_log(error: anyhow::Error, log: &str) -> anyhow::Error {
    anyhow!("{error:#}\n\nend of containerd's log:\n{log}")
}
