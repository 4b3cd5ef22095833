//! What the lab promises to the programs in it: a true KVM, and a host's
//! surroundings. Runs on the host itself where that has it.

// A test's panic is its verdict.
#![allow(clippy::unwrap_used)]

mod guest;
mod surroundings;
mod virtualization;

use std::process::ExitCode;

use lab::case;

fn main() -> ExitCode {
    lab::Suite::new()
        .file(
            "manifest",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        )
        .case(case("kvm_is_usable", virtualization::kvm_is_usable))
        .case(case(
            "long_mode_computes",
            virtualization::long_mode_computes,
        ))
        .case(case(
            "a_guest_fault_is_a_shutdown",
            virtualization::a_guest_fault_is_a_shutdown,
        ))
        .case(case(
            "irqfd_interrupts_a_halted_guest",
            virtualization::irqfd_interrupts_a_halted_guest,
        ))
        .case(case("files_arrive_whole", surroundings::files_arrive_whole))
        .case(case("jails_can_be_built", surroundings::jails_can_be_built))
        .case(case("cgroups_limit", surroundings::cgroups_limit))
        .case(case(
            "networks_can_be_built",
            surroundings::networks_can_be_built,
        ))
        .case(case("the_clock_is_fine", surroundings::the_clock_is_fine))
        .main()
}
