//! `kata-mshv`: what an operator types.

use std::process;

use clap::{Parser, Subcommand};
use ctl::verbs::{Global, check, config, exec, logs, ps, rm, run};

/// Pods in VMs of their own, through containerd, without Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "kata-mshv", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Ps(ps::Args),
    Exec(exec::Args),
    Logs(logs::Args),
    Rm(rm::Args),
    Check(check::Args),
    Config(config::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cli = Cli::parse();
    let code = match verb(cli).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kata-mshv: {error:#}");
            1
        }
    };
    // Standard input is read by a thread that a pending read holds up, so the
    // runtime is not waited for.
    process::exit(code);
}

async fn verb(cli: Cli) -> anyhow::Result<i32> {
    let global = &cli.global;
    match cli.verb {
        Verb::Run(args) => run::run(global, args).await,
        Verb::Ps(args) => ps::ps(global, &args).await,
        Verb::Exec(args) => exec::exec(global, args).await,
        Verb::Logs(args) => logs::logs(global, &args).await,
        Verb::Rm(args) => rm::rm(global, &args).await,
        Verb::Check(args) => check::check(global, &args).await,
        Verb::Config(args) => config::config(&args),
    }
}
