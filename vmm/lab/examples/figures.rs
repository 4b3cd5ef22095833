//! How long things take in a lab on this host: `cargo run --release -p lab
//! --example figures [ROUNDS]`. README.md has a run of it.

#![allow(clippy::unwrap_used)] // There is nobody to report to.

#[allow(dead_code)] // The tests use more of it.
#[path = "../tests/lab/guest.rs"]
mod guest;

use std::time::{Duration, Instant};

use kvm_ioctls::VcpuExit;
use lab::{Lab, Program};

use guest::Guest;

const EXITS: u32 = 10_000;
const SLEEPS: u32 = 100;

/// out 0x10, al; jmp back
const EXITING: &[u8] = &[0xe6, 0x10, 0xeb, 0xfc];

fn main() {
    lab::enter();
    if lab::inside() {
        return inside();
    }
    let rounds = std::env::args()
        .nth(1)
        .map_or(5, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        let begun = Instant::now();
        let mut machine = Lab::new().start().unwrap();
        let boot = machine.boot_time();
        let output = machine
            .run(&Program::new("/init"), &mut |_| {})
            .unwrap()
            .output;
        drop(machine);
        let all = begun.elapsed();
        println!(
            "ready after {boot}; {}; all {all:.1?}",
            output.trim_end().replace('\n', "; ")
        );
    }
}

fn inside() {
    for turn in ["first", "second", "third"] {
        println!("{turn} VM to its first exit {:.1?}", first_exit());
    }
    println!("exit {:.1?}", round_trip());
    println!("1 ms of sleep {:.2?}", sleep());
}

fn first_exit() -> Duration {
    let begun = Instant::now();
    let mut guest = Guest::long_mode(EXITING);
    assert!(matches!(guest.vcpu.run().unwrap(), VcpuExit::IoOut(..)));
    begun.elapsed()
}

/// To user space and back.
fn round_trip() -> Duration {
    let mut guest = Guest::long_mode(EXITING);
    let begun = Instant::now();
    for _ in 0..EXITS {
        assert!(matches!(guest.vcpu.run().unwrap(), VcpuExit::IoOut(..)));
    }
    begun.elapsed() / EXITS
}

fn sleep() -> Duration {
    let begun = Instant::now();
    for _ in 0..SLEEPS {
        std::thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed() / SLEEPS
}
