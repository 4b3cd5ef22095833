//! What PID 1 does before anything else: the least that containers and the
//! agent itself need, in a fixed order. Everything here is on the way of every
//! pod's start.

mod cgroups;
mod cmdline;
mod limits;
mod mounts;
mod power;

pub(crate) use cgroups::POD_CGROUP;
pub(crate) use cmdline::log_level;
pub(crate) use power::power_off;

use std::path::PathBuf;

/// A step that failed, and on what.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("mount {fstype} on {target:?}")]
    Mount {
        fstype: &'static str,
        target: PathBuf,
        source: std::io::Error,
    },
    #[error("make the root file system one that can be pivoted away from")]
    Root(#[source] std::io::Error),
    #[error("set the limit on {what}")]
    Limit {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("write {value:?} to {path:?}")]
    Write {
        path: PathBuf,
        value: String,
        source: std::io::Error,
    },
    #[error("enable the controllers of cgroup {path:?}")]
    Controllers {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Turns what the kernel started into a guest that can run containers.
pub(crate) fn prepare() -> Result<(), InitError> {
    mounts::make_root_pivotable()?;
    mounts::mount_all()?;
    cgroups::prepare()?;
    limits::raise()?;
    limits::set_sysctls()
}
