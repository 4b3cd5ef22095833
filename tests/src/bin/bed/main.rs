//! `bed`: a containerd of its own, for people.
//!
//! Nothing of the host's is touched, and nothing stays: see `e2e::isolation`.

mod bench;
mod comparison;
mod demo;
mod soak;
mod steps;
mod storage;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A containerd of its own, with the runtime in it.
#[derive(Debug, Parser)]
#[command(name = "bed", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::Args),
    Demo(demo::Args),
    Soak(soak::Args),
    Storage(storage::Args),
    Up(up::Args),
}

fn main() -> ExitCode {
    // `bed up --lab`: this program is the lab's init.
    lab::enter();
    let result = match Cli::parse().verb {
        Verb::Bench(args) => bench::bench(&args),
        Verb::Demo(args) => demo::demo(&args),
        Verb::Soak(args) => soak::soak(&args),
        Verb::Storage(args) => storage::storage(&args),
        Verb::Up(args) => up::up(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bed: {error:#}");
        ExitCode::FAILURE
    })
}
