//! What cases and bench do inside of a container that busybox has no command for,
//! mostly with files. A line `ok`, or figures, on standard output; else an error and
//! exit code 1.

mod content;
mod huge;
mod locks;
mod many;
mod signals;
mod sockets;
mod speed;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Try something with files.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Debug, Subcommand)]
enum Trial {
    /// Say `watching`, then each inotify event of a folder up to one on `name`.
    Watch { folder: PathBuf, name: String },
    /// Take a lock if it is free, and say `locked` or `held`.
    Lock { kind: locks::Kind, file: PathBuf },
    /// Take a lock, say `locked`, and keep it until standard input ends.
    Hold { kind: locks::Kind, file: PathBuf },
    /// Make a UNIX socket, say `listening`, and greet whoever connects.
    Listen { socket: PathBuf },
    /// Connect to a UNIX socket, and say what it said.
    Connect { socket: PathBuf },
    /// Holes: made by seeking, found, and punched.
    Sparse { folder: PathBuf },
    /// Bytes beyond 4 GiB.
    Large { folder: PathBuf },
    /// Extended attributes of the user's.
    Attributes { folder: PathBuf },
    /// Names of 255 bytes; one more is an error.
    Names { folder: PathBuf },
    /// So many small files: made, found, read, removed.
    Many { folder: PathBuf, count: u32 },
    /// Map so many huge pages of so many MiB, and write to each.
    MapHuge {
        page_mib: usize,
        count: usize,
        /// Of this file in huge pages.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Nothing is promised before it is written to.
        #[arg(long)]
        unreserved: bool,
    },
    /// Make a shared memory segment of so many huge pages of so many MiB.
    ShareHuge { page_mib: usize, count: usize },
    /// Say `waiting`, and then the number of each signal that comes.
    Signals,
    /// Figures of a folder.
    Speed { folder: PathBuf },
    /// Figures of a block device; what is on it is lost.
    DeviceSpeed { device: PathBuf },
}

fn main() -> ExitCode {
    match run(Cli::parse().trial) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(trial: Trial) -> Result<()> {
    match trial {
        Trial::Watch { folder, name } => return watch::until(&folder, &name),
        Trial::Lock { kind, file } => return locks::attempt(kind, &file),
        Trial::Hold { kind, file } => return locks::hold(kind, &file),
        Trial::Signals => return signals::say(),
        Trial::Listen { socket } => return sockets::listen(&socket),
        Trial::Connect { socket } => return sockets::connect(&socket),
        Trial::Speed { folder } => return speed::of_folder(&folder),
        Trial::DeviceSpeed { device } => return speed::of_device(&device),
        Trial::Sparse { folder } => content::sparse(&folder)?,
        Trial::Large { folder } => content::large(&folder)?,
        Trial::Attributes { folder } => content::attributes(&folder)?,
        Trial::Names { folder } => content::names(&folder)?,
        Trial::Many { folder, count } => many::exercise(&folder, count)?,
        Trial::MapHuge {
            page_mib,
            count,
            file,
            unreserved,
        } => huge_pages(
            huge::Wanted {
                page_mib,
                count,
                unreserved,
            },
            file.as_deref(),
        )?,
        Trial::ShareHuge { page_mib, count } => huge::share(huge::Wanted {
            page_mib,
            count,
            unreserved: false,
        })?,
    }
    println!("ok");
    Ok(())
}

fn huge_pages(wanted: huge::Wanted, file: Option<&Path>) -> Result<()> {
    match file {
        Some(file) => huge::map_file(wanted, file),
        None => huge::map(wanted),
    }
}
