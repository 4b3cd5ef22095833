//! Runs a program in a lab and prints what it prints.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lab::{Ending, Error, Lab, Program};

/// Run a program in a machine of its own that has a true /dev/kvm, on any host.
/// The program and what it needs are static files, listed with --file, or
/// anything of the host's with --host-files.
#[derive(Parser)]
struct Arguments {
    /// A file of the host, its place in the lab (default: the same).
    #[arg(long = "file", value_name = "HOST[:PLACE]")]
    files: Vec<String>,
    /// The host's whole file system for its root, read-only.
    #[arg(long, conflicts_with = "files")]
    host_files: bool,
    /// The lab's memory, MiB.
    #[arg(long, default_value_t = 3072)]
    memory: u32,
    /// Seconds after which the program is ended.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Program, as it is called in the lab, and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    lab::enter();
    match run(&Arguments::parse()) {
        Ok(Ending::Exited(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(ending) => {
            eprintln!("lab: {ending}");
            ExitCode::FAILURE
        }
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            eprintln!("lab: {cause}");
            while let Some(next) = cause.source() {
                eprintln!("lab: because {next}");
                cause = next;
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let mut lab = Lab::new().memory_mib(arguments.memory);
    if arguments.host_files {
        lab = lab.host_files();
    }
    for file in &arguments.files {
        let (host, place) = file.split_once(':').unwrap_or((file, file));
        lab = lab.file(PathBuf::from(host), place, 0o755);
    }
    let mut machine = lab.start()?;
    eprintln!("lab: ready after {}", machine.boot_time());
    let (path, rest) = arguments
        .command
        .split_first()
        .unwrap_or_else(|| unreachable!());
    let program = Program::new(path)
        .args(rest)
        .within(Duration::from_secs(arguments.timeout));
    Ok(machine
        .run(&program, &mut |line| println!("{line}"))?
        .ending)
}
