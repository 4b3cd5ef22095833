//! Devices of the VMM's own with a real guest's drivers: Linux, started by
//! `kata-mshv-vmm`, with this program as its init.
//!
//! | module | runs |
//! |---|---|
//! | [`machine`], [`network`], [`memory`] | beside the VMM |
//! | [`guest`] | in its guest |
//! | [`interface`], [`pattern`] | in both |

#[path = "../../../fs/tests/device/archive.rs"]
mod archive; // One way to write an initramfs is enough.
mod guest;
mod interface;
mod machine;
mod memory;
mod network;
mod pattern;

use std::process::ExitCode;

use lab::case;

fn main() -> ExitCode {
    if let Some(case) = guest::case() {
        guest::run(&case);
    }
    lab::Suite::new()
        .file("kata-mshv-vmm", env!("CARGO_BIN_EXE_kata-mshv-vmm"))
        .file(
            "vmlinux",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guest/vmlinux"),
        )
        .case(case("packets_go_both_ways", network::packets_go_both_ways))
        .case(case(
            "freed_memory_goes_back_to_the_host",
            memory::freed_memory_goes_back_to_the_host,
        ))
        .main()
}
