//! What is written down about the sandbox: by the boot, and once more when its
//! first container runs, and whenever the VM has another size.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vmm_api::SandboxRecord;

use super::RunDir;
use super::timeline::{LAST, Timeline};
use crate::sizing::Size;

pub(super) struct Journal {
    timeline: Timeline,
    /// Without spans.
    record: Mutex<SandboxRecord>,
}

impl Journal {
    pub(super) fn new(timeline: Timeline, record: SandboxRecord) -> Self {
        let record = Mutex::new(record);
        Self { timeline, record }
    }

    pub(super) fn write(&self, run_dir: &RunDir) -> io::Result<()> {
        run_dir.write_record(&self.whole())
    }

    /// The record with its spans.
    pub(super) fn whole(&self) -> SandboxRecord {
        SandboxRecord {
            began_us: self.timeline.origin_us(),
            timeline: self.timeline.spans(),
            ..self.record().clone()
        }
    }

    /// Ends a span of the pod's start, and writes everything down with the
    /// last one.
    pub(super) fn end(&self, name: &str, begin: Instant, run_dir: &RunDir) {
        if !self.timeline.end(name, begin) || name != LAST {
            return;
        }
        if let Err(error) = self.write(run_dir) {
            tracing::warn!(%error, "write down how the start went");
        }
    }

    /// The VM is of that size now.
    pub(super) fn resized(&self, size: Size, run_dir: &RunDir) {
        {
            let mut record = self.record();
            record.vcpus = size.vcpus;
            record.memory_mib = size.memory_mib;
        }
        if let Err(error) = self.write(run_dir) {
            tracing::warn!(%error, "write down the VM's size");
        }
    }

    fn record(&self) -> MutexGuard<'_, SandboxRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
