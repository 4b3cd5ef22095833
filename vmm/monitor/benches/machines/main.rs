//! The built-in VMM beside others: the same kernel, initramfs and lab, turn by
//! turn in one run.
//!
//! `make bench PEERS=dir` looks for `firecracker` and `cloud-hypervisor` in
//! `dir`; static builds, for the lab has no libraries.

#[allow(dead_code)] // The tests do more with it.
#[path = "../../tests/guest/agent.rs"]
mod agent;
mod contest;
#[path = "../../tests/guest/device.rs"]
mod device;
mod elf;
mod figures;
#[allow(dead_code)] // The tests do more with it.
#[path = "../../tests/guest/memory.rs"]
mod huge_pages;
#[allow(dead_code)] // The tests do more with it.
#[path = "../../tests/guest/machine.rs"]
mod machine;
mod memory;
mod ours;
mod peers;
#[path = "../../tests/guest/socket.rs"]
mod socket;
mod tiny;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::case;

/// Names the folder with the other VMMs.
const PEERS: &str = "KATA_MSHV_BENCH_PEERS";

const BUILT: [(&str, &str); 4] = [
    ("kata-mshv-fs", "target/x86_64-unknown-linux-gnu/release"),
    ("kata-mshv-vsock", "target/x86_64-unknown-linux-gnu/release"),
    ("vmlinux", "target/guest"),
    ("initramfs.cpio", "target/guest"),
];

/// For guests of 2 GiB, of which they touch little.
const LAB_MIB: u32 = 4000;

fn main() -> ExitCode {
    let mut suite = lab::Suite::new()
        .memory_mib(LAB_MIB)
        .file("kata-mshv-vmm", env!("CARGO_BIN_EXE_kata-mshv-vmm"));
    for (name, folder) in BUILT {
        suite = suite.file(name, built(folder, name));
    }
    for (name, path) in found() {
        suite = suite.file(name, path);
    }
    for (name, seconds, body) in contest::ALL {
        suite = suite.case(case(name, *body).seconds(*seconds));
    }
    suite.main()
}

fn built(folder: &str, name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.join(folder).join(name)
}

/// The peers that are there. The lab does not know where they came from, only
/// what it was given: [`peers::present`].
fn found() -> Vec<(&'static str, PathBuf)> {
    if lab::inside() {
        return peers::NAMES.map(|name| (name, PathBuf::new())).to_vec();
    }
    let Some(folder) = std::env::var_os(PEERS).map(PathBuf::from) else {
        return Vec::new();
    };
    let all = peers::NAMES.map(|name| (name, folder.join(name)));
    all.into_iter().filter(|(_, path)| path.is_file()).collect()
}
