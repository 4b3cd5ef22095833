//! `bed demo`: two pods side by side, one of them in a virtual machine.

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::bed::{Bed, Handler, Version};
use e2e::isolation;
use e2e::leaks::Snapshot;
use e2e::operator::Operator;

use crate::comparison::{Comparison, Sight};
use crate::steps::step;
use crate::up::{prepare, setup};

/// Run the two sample pods, compare what they see, and remove everything.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which containerd.
    #[arg(long = "version", value_enum, default_value = "2")]
    containerd: Version,
}

/// A sample of `runtimeclass/samples`.
struct Sample {
    pod: &'static str,
    handler: Handler,
    file: &'static str,
    manifest: &'static str,
}

const SAMPLES: [Sample; 2] = [
    Sample {
        pod: "trusted",
        handler: Handler::Runc,
        file: "trusted-app.yaml",
        manifest: include_str!("../../../../runtimeclass/samples/trusted-app.yaml"),
    },
    Sample {
        pod: "untrusted",
        handler: Handler::KataMshv,
        file: "untrusted-app.yaml",
        manifest: include_str!("../../../../runtimeclass/samples/untrusted-app.yaml"),
    },
];

pub(crate) fn demo(args: &Args) -> Result<ExitCode> {
    let prepare = || prepare(args.containerd);
    let code = isolation::run(prepare, |folder| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.context("start a runtime")?.block_on(async {
            let up = Bed::up(&folder, setup(args.containerd));
            let bed = step(&format!("{} of its own, with images", args.containerd), up).await?;
            show(&bed).await
        })?;
        Ok(ExitCode::SUCCESS)
    })?;
    Ok(code)
}

async fn show(bed: &Bed) -> Result<()> {
    let clean = Snapshot::take(bed).await?;
    let operator = Operator::new(bed);
    let trusted = run(bed, &operator, &SAMPLES[0]).await?;
    let untrusted = run(bed, &operator, &SAMPLES[1]).await?;
    let comparison = Comparison([trusted, untrusted]);
    let remove = async {
        for sample in &SAMPLES {
            operator.remove(sample.pod).await?;
        }
        clean.assert_nothing_more(bed).await
    };
    step("both removed, and nothing of them left", remove).await?;
    println!("\n{comparison}");
    comparison.check()
}

/// Runs a sample and asks it what it sees.
async fn run(bed: &Bed, operator: &Operator<'_>, sample: &Sample) -> Result<Sight> {
    let file = bed.layout.scratch(sample.file);
    fs::write(&file, sample.manifest).with_context(|| format!("write {}", file.display()))?;
    let name = sample.handler.name();
    let start = async {
        let begin = Instant::now();
        operator.run(&file.display().to_string()).await?;
        let line = operator.first_line(sample.pod).await?;
        ensure!(line == ".", "pod {} says {line:?}, not \".\"", sample.pod);
        Ok(begin.elapsed())
    };
    let what = format!("kata-mshv run {} ({name})", sample.file);
    let ready = step(&what, start).await?;
    Sight::ask(operator, sample.pod, name, ready).await
}
