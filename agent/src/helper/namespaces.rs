//! The namespaces of a pod that has a user namespace of its own. In the guest's
//! they would belong to the guest's root, and what the pod's root may do by its
//! capabilities (bind to port 80, add a route) would be refused.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::Path;

use rustix::fd::AsFd;
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::report::Kind;
use super::{Namespaces, system};
use crate::pod::namespaces::{self, Namespace};

/// They could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamespacesError {
    #[error("the pod's namespaces: {step}")]
    Step {
        step: &'static str,
        source: io::Error,
    },
    #[error("map the pod's ids: write {map:?} to {file}")]
    Map {
        file: &'static str,
        map: String,
        source: io::Error,
    },
}

impl NamespacesError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Step { .. } => Kind::Internal,
            // The kernel's refusal: ranges that overlap, for one.
            Self::Map { .. } => Kind::Invalid,
        }
    }
}

type Result<T, E = NamespacesError> = std::result::Result<T, E>;

/// Makes them, each kept by a mount on its file.
pub(super) fn make(order: &Namespaces) -> Result<()> {
    let (ready, tell) = io::pipe().map_err(at("make a pipe"))?;
    let (go, done) = io::pipe().map_err(at("make a pipe"))?;
    let Some(first) = system::fork_child().map_err(at("fork"))? else {
        drop(done);
        stay(tell, go);
    };
    drop(tell);
    let made = arrived(ready).and_then(|()| keep(first, order));
    drop(done);
    // It ends by itself now. Nobody else waits for it.
    let _ = waitpid(Some(first), WaitOptions::empty());
    made
}

/// The process that the namespaces are made of, until they are kept.
fn stay(mut tell: PipeWriter, mut go: PipeReader) -> ! {
    let errno = system::new_pod_namespaces()
        .err()
        .and_then(|error| error.raw_os_error());
    let told = tell.write_all(&errno.unwrap_or(0).to_ne_bytes());
    // Until the other end is closed.
    let _ = go.read(&mut [0]);
    system::exit_now(i32::from(told.is_err()))
}

fn arrived(mut ready: PipeReader) -> Result<()> {
    let mut errno = [0; 4];
    let step = "unshare";
    ready.read_exact(&mut errno).map_err(at(step))?;
    match i32::from_ne_bytes(errno) {
        0 => Ok(()),
        errno => Err(at(step)(io::Error::from_raw_os_error(errno))),
    }
}

fn keep(first: Pid, order: &Namespaces) -> Result<()> {
    let proc = Path::new("/proc").join(first.as_raw_pid().to_string());
    for (file, map) in [("uid_map", &order.uid_map), ("gid_map", &order.gid_map)] {
        std::fs::write(proc.join(file), map).map_err(|source| NamespacesError::Map {
            file,
            map: map.clone(),
            source,
        })?;
    }
    namespaces::keep(&proc).map_err(at("keep them"))
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> NamespacesError {
    move |source| NamespacesError::Step { step, source }
}

/// Joins the pod's network, IPC and UTS namespaces, with the rights of the guest.
pub(super) fn join_shared() -> Result<()> {
    namespaces::join_shared().map_err(at("join them"))
}

/// Joins the pod's user namespace, as its root.
pub(super) fn join_user() -> io::Result<()> {
    let user = namespaces::open(Namespace::User)?;
    Ok(move_into_link_name_space(
        user.as_fd(),
        Some(LinkNameSpaceType::User),
    )?)
}
