//! Guests that misbehave on purpose. Each is a few instructions that do what a
//! script says (see [`program`]), with nothing between them and the machine: no
//! kernel that would keep to any rule. Afterwards the machine is as good as
//! before, or has ended with a reason; the VMM's process has taken no memory and
//! written no log worth speaking of.

mod cases;
mod driver;
#[path = "../../benches/machines/elf.rs"]
mod elf; // One way to write an executable is enough.
mod image;
#[allow(dead_code)] // The devices' tests do more with it.
#[path = "../devices/interface.rs"]
mod interface;
mod machine;
mod memory;
mod network;
mod program;
mod queues;
mod registers;
mod script;
mod wild;
mod wire;

use std::process::ExitCode;

use lab::case;

fn main() -> ExitCode {
    let mut suite = lab::Suite::new().file("kata-mshv-vmm", env!("CARGO_BIN_EXE_kata-mshv-vmm"));
    let all = [
        registers::ALL,
        queues::ALL,
        network::ALL,
        memory::ALL,
        wild::ALL,
    ];
    for (name, body) in all.into_iter().flatten() {
        suite = suite.case(case(name, *body));
    }
    suite.main()
}
