#!/bin/bash
# Format, lints, licences, and which crate may depend on which.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
.ci/arrows.py
.ci/deny.sh
shellcheck .ci/*.sh .ci/run guest-kernel-config/*.sh runtimeclass/*.sh tests/fuzz/*.sh
