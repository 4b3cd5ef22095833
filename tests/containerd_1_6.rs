//! All cases on containerd 1.6.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::harness::main(e2e::bed::Version::V1_6, None)
}
