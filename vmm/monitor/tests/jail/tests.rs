//! The cases.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};

use vmm_api::{Answer, Event, Message, Request, StopReason};

use crate::machine::{GROUP, MOST_VCPUS, Machine, USER, VCPUS, vmm};
use crate::taken_over;

/// Value of a line of `/proc/PID/status`, its numbers with single spaces.
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in {status}"));
    let words: Vec<_> = value.trim_start_matches(':').split_whitespace().collect();
    words.join(" ")
}

/// Real, effective, saved, and for files.
fn four(id: u32) -> String {
    [id; 4].map(|id| id.to_string()).join(" ")
}

#[test]
fn no_thread_has_a_right() {
    let machine = Machine::start(Vec::new());
    let threads = machine.threads();
    assert_eq!(threads.len(), 1 + VCPUS as usize);
    for thread in threads {
        let status = fs::read_to_string(machine.proc(&format!("task/{thread}/status"))).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{set}");
        }
        assert_eq!(field(&status, "Uid"), four(USER));
        assert_eq!(field(&status, "Gid"), four(GROUP));
        assert_eq!(field(&status, "Groups"), "");
        assert_eq!(field(&status, "NoNewPrivs"), "1");
        // SECCOMP_MODE_FILTER
        assert_eq!(field(&status, "Seccomp"), "2");
        assert_eq!(field(&status, "Seccomp_filters"), "1");
    }
}

/// One that comes later has the main thread's filter below its own.
#[test]
fn a_processor_that_comes_later_is_confined_too() {
    let machine = Machine::start(Vec::new());
    for vcpus in [MOST_VCPUS, VCPUS, MOST_VCPUS, 1, MOST_VCPUS - 1] {
        machine.ask(&Request::ResizeVcpus { vcpus });
        assert_eq!(machine.threads().len(), 1 + vcpus as usize);
        machine.ask(&Request::Pause);
        machine.ask(&Request::Resume);
    }
    for thread in machine.threads() {
        let status = fs::read_to_string(machine.proc(&format!("task/{thread}/status"))).unwrap();
        assert_eq!(field(&status, "Seccomp"), "2");
        let comm = field(&status, "Name");
        let filters = field(&status, "Seccomp_filters");
        let late = comm.starts_with("vcpu") && comm != "vcpu0";
        assert_eq!(filters, if late { "2" } else { "1" }, "{comm}");
    }
}

#[test]
fn there_is_no_file() {
    let machine = Machine::start(Vec::new());
    let root = fs::read_dir(machine.proc("root")).unwrap();
    assert_eq!(root.count(), 0);
    let made = File::create(machine.proc("root/new")).unwrap_err();
    assert_eq!(made.raw_os_error(), Some(libc::EROFS));
    let mounts = fs::read_to_string(machine.proc("mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert_eq!(
        fs::read_link(machine.proc("cwd")).unwrap().to_str(),
        Some("/")
    );
}

#[test]
fn every_namespace_but_that_of_processes_is_its_own() {
    let machine = Machine::start(Vec::new());
    for name in ["mnt", "net", "ipc", "uts", "cgroup"] {
        let theirs = fs::read_link(machine.proc(&format!("ns/{name}"))).unwrap();
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(theirs, ours);
    }
    let interfaces = fs::read_to_string(machine.proc("net/dev")).unwrap();
    // Two lines of heading, and a loopback interface that is down.
    assert!(interfaces.lines().count() <= 3, "{interfaces}");
}

#[test]
fn limits_are_set() {
    let machine = Machine::start(Vec::new());
    let limits = fs::read_to_string(machine.proc("limits")).unwrap();
    assert_eq!(field(&limits, "Max core file size"), "0 0 bytes");
    assert_eq!(field(&limits, "Max open files"), "1024 1024 files");
}

/// Standard streams, sockets, events, and what KVM makes; neither the images
/// nor KVM itself, and nothing that a parent has left open.
#[test]
fn no_file_stays_open() {
    let secret = File::open("/etc/passwd").unwrap();
    let machine = Machine::start(vec![secret.into()]);
    let descriptors = fs::read_dir(machine.proc("fd")).unwrap();
    let mut files = 0;
    for descriptor in descriptors {
        let descriptor = descriptor.unwrap();
        let number: i32 = descriptor.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(descriptor.path()).unwrap();
        let target = target.to_str().unwrap();
        let harmless = ["socket:", "anon_inode:", "/memfd:guest-memory"];
        let is_harmless = harmless.iter().any(|kind| target.starts_with(kind));
        assert!(number < 3 || is_harmless, "{number}: {target}");
        files += 1;
    }
    assert!(files > 3 + VCPUS, "{files}");
}

#[test]
fn the_main_thread_cannot_have_a_socket() {
    let mut machine = Machine::start(Vec::new());
    let main = machine.threads()[0];
    let stir = || machine.send(&Request::Stats, &[]);
    taken_over::calls(main, libc::SYS_socket, stir);
    let status = machine.vmm.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

/// Whichever thread it is, the whole process goes.
#[test]
fn a_processor_cannot_have_a_socket() {
    let mut machine = Machine::start(Vec::new());
    let processor = *machine.threads().last().unwrap();
    taken_over::calls(processor, libc::SYS_socket, || {});
    let status = machine.vmm.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

/// That the calls above die of the filter and not of how they are made.
#[test]
fn another_call_of_its_own_is_no_harm() {
    let machine = Machine::start(Vec::new());
    for thread in machine.threads() {
        taken_over::calls(thread, libc::SYS_sched_yield, || {
            machine.send(&Request::Stats, &[])
        });
        assert!(matches!(
            machine.message(),
            Message::Answer(Answer::Stats(_))
        ));
    }
}

/// All of the process's life is within its filters, its end too.
#[test]
fn a_jailed_machine_does_what_it_is_asked_for() {
    let mut machine = Machine::start(Vec::new());
    for request in [Request::Pause, Request::Resume, Request::Stop] {
        machine.ask(&request);
    }
    let reason = StopReason::Requested;
    assert_eq!(machine.message(), Message::Event(Event::Stopped { reason }));
    let status = machine.vmm.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn without_a_jail_there_is_no_machine() {
    for arguments in [["--user", "0:0"], ["--user", "root"]] {
        let output = vmm(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is not UID:GID"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("vmm");
    fs::copy(env!("CARGO_BIN_EXE_kata-mshv-vmm"), &copy).unwrap();
    let everybody = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).unwrap();
    let output = std::process::Command::new(&copy)
        .uid(USER)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has to be started as root"), "{said}");
}
