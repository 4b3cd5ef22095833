//! All cases on containerd 2.x.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::harness::main(e2e::bed::Version::V2, None)
}
