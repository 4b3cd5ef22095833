//! The first process of a PID namespace that several containers share: it
//! keeps the namespace and reaps in it.

use std::io;

use super::report::{Report, Reporter, Started};
use super::{Pause, namespaces, system};

/// The namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the pod's PID namespace: {step}")]
pub(super) struct PauseError {
    step: &'static str,
    source: io::Error,
}

/// Makes the namespace, leaves its first process behind, and reports it.
pub(super) fn run(order: &Pause, reporter: Reporter) -> Result<(), PauseError> {
    let failed = |step| move |source| PauseError { step, source };
    // Without the process the namespace and all in it would end. No right of a
    // user namespace allows this.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    if order.in_user_namespace {
        namespaces::join_user().map_err(failed("join the pod's user namespace"))?;
    }
    system::new_pid_namespace().map_err(failed("unshare"))?;
    match system::fork_sibling().map_err(failed("fork"))? {
        None => hold(),
        Some(pid) => {
            let pid = pid.as_raw_pid();
            reporter.send(&Report::Started(Started {
                pid,
                poststart: false,
                poststop: false,
            }));
            Ok(())
        }
    }
}

/// Orphans of the namespace become this process's children, which it ignores:
/// the kernel reaps them then.
fn hold() -> ! {
    system::ignore_children();
    system::close_inherited();
    loop {
        std::thread::park();
    }
}
