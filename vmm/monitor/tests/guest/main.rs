//! Whole machines: the VMM's process, its device processes, and a real guest
//! whose agent says hello to what plays the shim here.

mod agent;
mod cases;
mod device;
#[path = "../../benches/machines/elf.rs"]
mod elf; // One way to write an executable is enough.
mod machine;
mod memory;
mod processors;
mod socket;
mod tiny;
mod tiny_cases;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::case;

/// What a machine is made of, and the workspace's folder of it.
const FILES: [(&str, &str); 4] = [
    ("kata-mshv-fs", "target/x86_64-unknown-linux-gnu/release"),
    ("kata-mshv-vsock", "target/x86_64-unknown-linux-gnu/release"),
    ("vmlinux", "target/guest"),
    ("initramfs.cpio", "target/guest"),
];

/// The largest guest has 5 GiB, of which it touches little; the lab's kernel
/// wants to know it has that much.
const LAB_MIB: u32 = 7000;

/// The longest is the one with the most processors.
const CASE_S: u64 = 180;

fn main() -> ExitCode {
    let mut suite = lab::Suite::new()
        .memory_mib(LAB_MIB)
        .file("kata-mshv-vmm", env!("CARGO_BIN_EXE_kata-mshv-vmm"));
    for (name, folder) in FILES {
        suite = suite.file(name, built(folder, name));
    }
    for (name, body) in cases::ALL
        .iter()
        .chain(processors::ALL)
        .chain(tiny_cases::ALL)
    {
        suite = suite.case(case(name, *body).seconds(CASE_S));
    }
    suite.main()
}

fn built(folder: &str, name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.join(folder).join(name)
}
