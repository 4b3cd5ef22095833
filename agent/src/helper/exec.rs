//! One more process in a running container.
//!
//! Written out rather than left to libcontainer's tenant: that one joins every
//! namespace but the user's, has no seccomp filter, and reads the container's
//! state from files. Its parts are used where they fit.

mod cgroup;
mod scheduling;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use libcontainer::syscall::syscall::create_syscall;
use libcontainer::syscall::{Syscall, SyscallError};
use libcontainer::tty::TTYError;
use libcontainer::{capabilities, tty};
use oci_spec::runtime::{
    ExecCPUAffinity, LinuxCapabilities, LinuxIOPriority, LinuxIdMapping, LinuxIdMappingBuilder,
    LinuxSchedulerPolicy, Process,
};
use protocol::Id;
use rustix::fd::{BorrowedFd, IntoRawFd};
use rustix::process::DumpableBehavior;
use rustix::thread::{
    Gid, ThreadNameSpaceType, Uid, set_keep_capabilities, set_thread_res_gid, set_thread_res_uid,
};

use super::payload::{Payload, staged};
use super::report::{Kind, Report, Reporter, Started};
use super::seccomp::Filter;
use super::{Exec, HelperError, identity, limits, parse, system};
use crate::container::paths;

/// The container could not be entered, or the process not be made ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    #[error("exec: the container has ended")]
    Ended,
    #[error("exec: set the process's scheduler {0}")]
    Scheduler(LinuxSchedulerPolicy, #[source] io::Error),
    #[error("exec: set the process's io priority {0:?}")]
    IoPriority(LinuxIOPriority, #[source] SyscallError),
    #[error("exec: keep the process on processors {0}")]
    Affinity(String, #[source] io::Error),
    #[error("exec: user {0} is not mapped in the container's user namespace")]
    NotMapped(u32),
    #[error("exec: {0}")]
    Step(&'static str, #[source] io::Error),
    #[error("exec: {0}")]
    Set(&'static str, #[source] SyscallError),
    #[error("exec: open a terminal")]
    Terminal(#[from] TTYError),
}

impl ExecError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Ended => Kind::Precondition,
            // What the kernel refuses is a value that it cannot have.
            Self::Scheduler(..) | Self::IoPriority(..) | Self::Affinity(..) => Kind::Invalid,
            Self::NotMapped(_) => Kind::Invalid,
            Self::Step(..) | Self::Set(..) | Self::Terminal(_) => Kind::Internal,
        }
    }
}

type Result<T, E = ExecError> = std::result::Result<T, E>;

/// Enters the container, starts the process of `order`, reports it.
pub(super) fn run(
    order: &Exec,
    init: Option<BorrowedFd<'static>>,
    reporter: Reporter,
) -> Result<(), HelperError> {
    let id = Id::new(order.container.as_str())?;
    let mut process = take_process(&order.process)?;
    let proc = Path::new("/proc").join(order.init_pid.to_string());
    identity::ensure_home(&mut process, &proc.join("root"));
    let payload = Payload::new(&process, filter(&id)?)?;
    let entry = Entry::prepare(order, init, &id, &process, &proc)?;
    let joined = entry.enter()?;
    let pid = system::fork_sibling().map_err(|error| ExecError::Step("fork", error))?;
    let Some(pid) = pid else {
        run_inside(&process, &payload, entry.console, joined, reporter);
    };
    let pid = pid.as_raw_pid();
    reporter.send(&Report::Started(Started {
        pid,
        poststart: false,
        poststop: false,
    }));
    Ok(())
}

fn take_process(path: &Path) -> Result<Process, HelperError> {
    let process = parse(path.to_owned());
    // What is left of the bundle goes with the container.
    let _ = std::fs::remove_file(path);
    process
}

fn filter(id: &Id) -> Result<Option<Filter>, HelperError> {
    let path = paths::filter(id);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|source| HelperError::File {
        action: "read",
        path,
        source,
    })?;
    Ok(Filter::from_bytes(&bytes))
}

/// What has to be done or opened while still outside the container.
struct Entry {
    init: BorrowedFd<'static>,
    namespaces: ThreadNameSpaceType,
    console: Option<UnixStream>,
}

impl Entry {
    fn prepare(
        order: &Exec,
        init: Option<BorrowedFd<'static>>,
        id: &Id,
        process: &Process,
        proc: &Path,
    ) -> Result<Self> {
        let namespaces = foreign_namespaces(proc)?;
        own_pipes(process, proc)?;
        let console = order.console.as_ref().map(UnixStream::connect).transpose();
        let console = console.map_err(|error| ExecError::Step("reach the agent", error))?;
        let score = process.oom_score_adj().unwrap_or(0);
        write(
            "/proc/self/oom_score_adj".into(),
            &score.to_string(),
            "set oom_score_adj",
        )?;
        join_cgroup(process, &paths::cgroup(id), proc)?;
        limits::raise(process);
        Ok(Self {
            init: init.ok_or(ExecError::Ended)?,
            namespaces,
            console,
        })
    }

    /// Joins the container's namespaces; for the PID namespace that means: with
    /// the next fork. Whether the user namespace was among them.
    fn enter(&self) -> Result<bool> {
        // The container's processes see this one from here on.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|errno| ExecError::Step("become undumpable", errno.into()))?;
        if !self.namespaces.is_empty() {
            rustix::thread::move_into_thread_name_spaces(self.init, self.namespaces).map_err(
                |errno| ExecError::Step("join the container's namespaces", errno.into()),
            )?;
        }
        Ok(self.namespaces.contains(ThreadNameSpaceType::USER))
    }
}

const NAMESPACES: [(&str, ThreadNameSpaceType); 8] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("net", ThreadNameSpaceType::NETWORK),
    ("time", ThreadNameSpaceType::TIME),
];

/// The namespaces of the process in `proc` that are not this process's own.
fn foreign_namespaces(proc: &Path) -> Result<ThreadNameSpaceType> {
    let mut foreign = ThreadNameSpaceType::empty();
    for (name, kind) in NAMESPACES {
        let link = |of: &Path| std::fs::read_link(of.join("ns").join(name));
        let theirs = link(proc).map_err(|_| ExecError::Ended)?;
        if link(Path::new("/proc/self")).ok() != Some(theirs) {
            foreign |= kind;
        }
    }
    Ok(foreign)
}

fn own_pipes(process: &Process, proc: &Path) -> Result<()> {
    let map = std::fs::read_to_string(proc.join("uid_map")).map_err(|_| ExecError::Ended)?;
    let user = process.user().uid();
    let outside = identity::outside(user, Some(&mappings(&map)));
    identity::own_pipes(outside.ok_or(ExecError::NotMapped(user))?);
    Ok(())
}

/// Lines of `inside outside count` (user_namespaces(7)).
fn mappings(map: &str) -> Vec<LinuxIdMapping> {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line
                .split_whitespace()
                .map_while(|word| word.parse::<u32>().ok());
            LinuxIdMappingBuilder::default()
                .container_id(numbers.next()?)
                .host_id(numbers.next()?)
                .size(numbers.next()?)
                .build()
                .ok()
        })
        .collect()
}

/// The cgroup may change on which processors this process runs: it has a choice
/// before and one after.
fn join_cgroup(process: &Process, cgroup: &Path, proc: &Path) -> Result<()> {
    let affinity = process.exec_cpu_affinity().as_ref();
    let list =
        |of: fn(&ExecCPUAffinity) -> &Option<String>| affinity.and_then(|a| of(a).as_deref());
    scheduling::keep_on(list(ExecCPUAffinity::initial))?;
    cgroup::join(cgroup, proc)?;
    scheduling::keep_on(list(ExecCPUAffinity::cpu_affinity_final))
}

fn write(path: PathBuf, text: &str, what: &'static str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| ExecError::Step(what, error))
}

/// The new process, in the container. Becomes the program or reports why not.
fn run_inside(
    process: &Process,
    payload: &Payload,
    console: Option<UnixStream>,
    new_user_namespace: bool,
    reporter: Reporter,
) -> ! {
    let ready = become_user(process, console, new_user_namespace)
        .map_err(HelperError::from)
        .and_then(|()| Ok(payload.prepare()?));
    let error = match ready {
        Ok(path) => payload.execute(&path).into(),
        Err(error) => error,
    };
    reporter.send(&Report::failed(error.kind(), &error));
    system::exit_now(1)
}

/// Session, terminal, scheduling, limits, ids and capabilities, in the order in which each
/// is still allowed.
fn become_user(
    process: &Process,
    console: Option<UnixStream>,
    new_user_namespace: bool,
) -> Result<()> {
    let syscall = create_syscall();
    let syscall = syscall.as_ref();
    if new_user_namespace {
        take_ids(0, 0)?;
    }
    rustix::process::setsid().map_err(|errno| ExecError::Step("start a session", errno.into()))?;
    if let Some(console) = console {
        tty::setup_console(syscall, console.into_raw_fd(), false)?;
    }
    scheduling::apply(syscall, process)?;
    for limit in process.rlimits().iter().flatten() {
        syscall
            .set_rlimit(limit)
            .map_err(|error| ExecError::Set("set a resource limit", error))?;
    }
    syscall
        .close_range(0)
        .map_err(|error| ExecError::Set("close descriptors", error))?;
    take_user(syscall, process)?;
    if process.no_new_privileges() == Some(true) {
        rustix::thread::set_no_new_privs(true)
            .map_err(|errno| ExecError::Step("set no_new_privs", errno.into()))?;
    }
    Ok(())
}

fn take_user(syscall: &dyn Syscall, process: &Process) -> Result<()> {
    let user = process.user();
    if let Some(mask) = user.umask() {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
    let groups: Vec<_> = user
        .additional_gids()
        .iter()
        .flatten()
        .copied()
        .map(Gid::from_raw)
        .collect();
    rustix::thread::set_thread_groups(&groups)
        .map_err(|errno| ExecError::Step("set supplementary groups", errno.into()))?;
    take_ids(user.uid(), user.gid())?;
    capabilities::reset_effective(syscall)
        .map_err(|error| ExecError::Set("reset capabilities", error))?;
    if let Some(wanted) = process.capabilities() {
        capabilities::drop_privileges(&stage(wanted), syscall)
            .map_err(|error| ExecError::Set("drop capabilities", error))?;
    }
    Ok(())
}

/// Changes ids and keeps the capabilities that a change from root would drop.
fn take_ids(uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let change = || -> rustix::io::Result<()> {
        set_keep_capabilities(true)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        set_keep_capabilities(false)
    };
    change().map_err(|errno| ExecError::Step("take the user's ids", errno.into()))
}

fn stage(wanted: &LinuxCapabilities) -> LinuxCapabilities {
    let mut stage = wanted.clone();
    stage.set_effective(Some(staged(wanted.effective().as_ref())));
    stage.set_permitted(Some(staged(wanted.permitted().as_ref())));
    stage
}
