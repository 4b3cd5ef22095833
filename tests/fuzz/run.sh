#!/bin/bash
# Fuzz targets with libFuzzer, on the stable toolchain.
#
#   run.sh short                 every target over its corpus and a little more
#   run.sh TARGET [ARGUMENT...]  one target; arguments are libFuzzer's
#   run.sh build                 builds, and lists what there is
#
# What a run finds that is new goes to target/fuzz/corpus/TARGET, what it breaks
# on to target/fuzz/artifacts/TARGET.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

# Executions of each target in a short run, and the seconds that they may take.
readonly short_runs=4000 short_seconds=5
readonly most_memory_mib=1024 most_input_seconds=5
work=target/fuzz
binaries=$work/x86_64-unknown-linux-gnu/fuzz

# Coverage by LLVM's own pass, which the stable compiler has too: see
# docs/decisions/0025-fuzzing-on-the-stable-toolchain.md. Instead of the flags
# in .cargo/config.toml: fuzzers are not static.
flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)

build() {
    RUSTFLAGS="${flags[*]}" nice cargo build --quiet --locked -p fuzz --features libfuzzer \
        --profile fuzz --bins --target-dir "$work"
}

targets() {
    basename -s .rs "$here"/fuzz_targets/*.rs
}

# TARGET CORPUS ARGUMENT...
run() {
    local target=$1 corpus=$2
    shift 2
    mkdir -p "$work/artifacts/$target" "$corpus" "$here/corpus/$target"
    nice "$binaries/$target" -artifact_prefix="$work/artifacts/$target/" \
        -rss_limit_mb=$most_memory_mib -timeout=$most_input_seconds -max_len=4096 \
        "$corpus" "$here/corpus/$target" "$@"
}

# The same seed each time: a failure is found again.
short() {
    local target corpus log status=0
    for target in $(targets); do
        corpus=$(mktemp -d)
        log=$work/$target.log
        run "$target" "$corpus" -runs=$short_runs -max_total_time=$short_seconds -seed=1 \
            &>"$log" || { status=1; tail -n 40 "$log"; }
        rm -r "$corpus"
        echo "fuzz: $target: $(grep -o 'stat::.*\|Done .*' "$log" | tail -n 1)"
    done
    return $status
}

[[ -n ${KATA_MSHV_FUZZ_BUILT:-} ]] || build
case ${1:-} in
    short) short ;;
    build) targets ;;
    *) run "$1" "$work/corpus/$1" "${@:2}" ;;
esac
