//! When and where the kernel is to run an exec's process. containerd copies
//! scheduler and io priority from the container's own.

use std::io;

use libcontainer::syscall::{Syscall, SyscallError};
use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{ExecError, Result, system};
use crate::container::resources::Present;

/// Gives this process the scheduler and the io priority of `process`. To be
/// called before it takes its user's identity: most of it needs root's.
pub(super) fn apply(syscall: &dyn Syscall, process: &Process) -> Result<()> {
    if let Some(wanted) = process.io_priority() {
        set_io_priority(syscall, wanted)
            .map_err(|source| ExecError::IoPriority(*wanted, source))?;
    }
    if let Some(wanted) = process.scheduler() {
        system::set_scheduler(attributes(wanted))
            .map_err(|source| ExecError::Scheduler(*wanted.policy(), source))?;
    }
    Ok(())
}

/// Keeps this process on the processors of `list`. Numbers that the guest does
/// not all have were written for the host and mean nothing here.
pub(super) fn keep_on(list: Option<&str>) -> Result<()> {
    let Some(numbers) = list.and_then(|list| Present::read().processors(list)) else {
        return Ok(());
    };
    let mut set = CpuSet::new();
    numbers
        .iter()
        .filter(|number| **number < CpuSet::MAX_CPU)
        .for_each(|number| set.set(*number));
    sched_setaffinity(None, &set).map_err(|errno| {
        let list = list.unwrap_or_default().to_owned();
        ExecError::Affinity(list, io::Error::from(errno))
    })
}

fn set_io_priority(syscall: &dyn Syscall, wanted: &LinuxIOPriority) -> Result<(), SyscallError> {
    // ioprio_set(2), "Notes".
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    syscall.set_io_priority(class, wanted.priority())
}

fn attributes(wanted: &Scheduler) -> libc::sched_attr {
    let flags = wanted.flags().iter().flatten();
    libc::sched_attr {
        // Filled in where it is handed to the kernel.
        size: 0,
        sched_policy: policy(*wanted.policy()),
        sched_flags: flags.fold(0, |bits, next| bits | flag(*next)),
        sched_nice: wanted.nice().unwrap_or(0),
        // What is below zero the kernel refuses, as it does what is too large.
        sched_priority: u32::try_from(wanted.priority().unwrap_or(0)).unwrap_or(u32::MAX),
        sched_runtime: wanted.runtime().unwrap_or(0),
        sched_deadline: wanted.deadline().unwrap_or(0),
        sched_period: wanted.period().unwrap_or(0),
    }
}

/// sched(7), as numbers of the kernel.
fn policy(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// Bits of sched_setattr(2).
fn flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

#[cfg(test)]
mod tests {
    use libcontainer::syscall::syscall::create_syscall;

    use super::*;

    fn process(json: &str) -> Process {
        let rest = r#""user": {"uid": 0, "gid": 0}, "cwd": "/""#;
        serde_json::from_str(&format!("{{{json}, {rest}}}")).unwrap()
    }

    /// What `show` sees of a thread that `process` was applied to.
    fn applied<T: Send + 'static>(process: Process, show: fn() -> T) -> Result<T> {
        let thread = std::thread::spawn(move || {
            apply(create_syscall().as_ref(), &process)?;
            Ok(show())
        });
        thread.join().unwrap()
    }

    /// A field of `/proc/thread-self/stat` behind the name, which is the second.
    fn stat(field: usize) -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let rest = stat.rsplit(')').next().unwrap();
        let word = rest.split_whitespace().nth(field - 3).unwrap();
        word.to_owned()
    }

    #[test]
    fn a_scheduler_and_an_io_priority_are_the_threads() {
        let process = process(
            r#""scheduler": {"policy": "SCHED_BATCH", "nice": 5},
               "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}"#,
        );
        // nice and policy (proc_pid_stat(5)).
        let seen = applied(process, || [stat(19), stat(41)]).unwrap();
        assert_eq!(seen, ["5", "3"]);
    }

    #[test]
    fn a_scheduler_that_the_kernel_refuses_is_named() {
        let process = process(r#""scheduler": {"policy": "SCHED_FIFO", "priority": -1}"#);
        let error = applied(process, || ()).unwrap_err();
        assert!(error.to_string().contains("SCHED_FIFO"), "{error}");
    }

    #[test]
    fn processors_that_only_the_host_has_change_nothing() {
        keep_on(Some("8000-8001")).unwrap();
        keep_on(None).unwrap();
    }
}
