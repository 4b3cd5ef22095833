//! The command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use log::LevelFilter;

/// Serve one directory to one virtual machine over virtio-fs.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Inherited file descriptor of a bound and listening UNIX stream socket,
    /// on which the VMM connects as vhost-user front end
    #[arg(long, value_name = "FD")]
    pub(crate) listen_fd: RawFd,

    /// Inherited non-blocking socket that is written to when the guest knows so
    /// many files that it should be made to forget some
    #[arg(long, value_name = "FD")]
    pub(crate) relief_fd: Option<RawFd>,

    /// Directory to serve, on a shared mount; mounts made under it later are
    /// served too
    #[arg(long, value_name = "DIR")]
    pub(crate) share: PathBuf,

    /// How much the guest may keep in its caches
    #[arg(long, value_enum, default_value_t = Cache::Auto)]
    pub(crate) cache: Cache,

    /// Threads that work on requests beside the one that receives them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,

    /// Least severity that is logged
    #[arg(long, value_name = "LEVEL", default_value_t = LevelFilter::Warn)]
    pub(crate) log_level: LevelFilter,
}

/// How long the guest may believe what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cache {
    /// Data until the next open, names and attributes for a second
    Auto,
    /// Everything: nobody but this guest writes to the share
    Always,
    /// Nothing: each access asks the host
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let options =
            Options::parse_from(["kata-mshv-fs", "--listen-fd", "3", "--share", "/share"]);
        assert_eq!(options.listen_fd, 3);
        assert_eq!(options.cache, Cache::Auto);
        assert_eq!(options.threads, 0);
        assert_eq!(options.log_level, LevelFilter::Warn);
    }

    #[test]
    fn unknown_cache_mode_is_refused() {
        let arguments = ["x", "--listen-fd", "3", "--share", "/s", "--cache", "some"];
        assert!(Options::try_parse_from(arguments).is_err());
    }
}
