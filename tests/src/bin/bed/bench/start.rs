//! One start of a pod, measured.

use std::time::Duration;

use anyhow::Result;
use e2e::bed::{Bed, Handler};
use e2e::pod::{ContainerSpec, Pod, pod};
use rustix::time::{ClockId, clock_gettime};
use vmm_api::{SandboxRecord, Span};

use super::figures::Figures;

/// From the request for a sandbox to a running container.
pub(crate) const START: &str = "pod start, whole";

/// Spans of a start: the caller's, then the shim's. Microseconds since the
/// request.
pub(crate) struct Start {
    pub(crate) spans: Vec<Span>,
}

impl Start {
    /// Starts a pod of one container, and removes it.
    pub(crate) async fn measure(bed: &Bed, handler: Handler) -> Result<Self> {
        let mut clock = Clock::start();
        let pod = pod("measured").handler(handler).run(bed).await?;
        clock.lap("RunPodSandbox");
        let container = ContainerSpec::idle("main").create(&pod).await?;
        clock.lap("CreateContainer");
        container.start().await?;
        clock.lap("StartContainer");
        let mut spans = vec![clock.whole()];
        spans.append(&mut clock.spans);
        if handler.is_vm() {
            spans.extend(shifted(&pod.record()?, clock.origin));
        }
        pod.remove().await?;
        Ok(Self { spans })
    }

    /// Microseconds of the span `name`.
    pub(crate) fn length(&self, name: &str) -> Option<u64> {
        let span = self.spans.iter().find(|span| span.name == name)?;
        Some(span.end_us - span.begin_us)
    }
}

/// A running pod of one container.
pub(crate) async fn run(bed: &Bed, handler: Handler) -> Result<Pod> {
    let pod = pod("warm").handler(handler).run(bed).await?;
    ContainerSpec::idle("main").start(&pod).await?;
    Ok(pod)
}

/// Every span's figures over all starts, in the order of the first.
pub(crate) fn by_span(starts: &[Start]) -> Vec<(String, Figures)> {
    let names = starts.first().into_iter().flat_map(|start| &start.spans);
    names
        .map(|span| {
            let lengths = starts.iter().filter_map(|start| start.length(&span.name));
            let figures = Figures::of(lengths.map(Duration::from_micros).collect());
            (span.name.clone(), figures)
        })
        .collect()
}

/// The shim's spans on the caller's clock.
fn shifted(record: &SandboxRecord, origin: u64) -> impl Iterator<Item = Span> + '_ {
    let shift = record.began_us.saturating_sub(origin);
    record.timeline.iter().map(move |span| Span {
        name: span.name.clone(),
        begin_us: span.begin_us + shift,
        end_us: span.end_us + shift,
    })
}

struct Clock {
    origin: u64,
    spans: Vec<Span>,
}

impl Clock {
    fn start() -> Self {
        Self {
            origin: now_us(),
            spans: Vec::new(),
        }
    }

    /// Ends the span that began where the last one ended.
    fn lap(&mut self, name: &str) {
        self.spans.push(Span {
            name: name.to_owned(),
            begin_us: self.end(),
            end_us: now_us() - self.origin,
        });
    }

    fn end(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.end_us)
    }

    fn whole(&self) -> Span {
        Span {
            name: START.to_owned(),
            begin_us: 0,
            end_us: self.end(),
        }
    }
}

/// The clock of [`SandboxRecord::began_us`].
fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    u64::try_from(micros).unwrap_or(0)
}
