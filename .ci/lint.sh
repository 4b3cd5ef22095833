#!/bin/bash
# Format, lints, licences, and which crate may depend on which.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo fmt --all --check
# Fuzz targets are linted as executables too, which only the fuzzer makes them.
cargo clippy --locked --workspace --all-targets --features fuzz/libfuzzer -- -D warnings
.ci/arrows.py
.ci/deny.sh
shellcheck .ci/*.sh .ci/run guest-kernel-config/*.sh runtimeclass/*.sh tests/fuzz/*.sh
