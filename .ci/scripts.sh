#!/bin/bash
# The tests of the scripts: *_test.sh that need no guest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=0
for test in guest-kernel-config/{check,build,initramfs}_test.sh runtimeclass/*_test.sh; do
    echo "== $test"
    "$test"
    passed=$((passed + 1))
done
echo "scripts: $passed passed, 0 failed"
