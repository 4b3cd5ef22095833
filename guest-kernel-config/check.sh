#!/bin/bash
# Compares what the fragments ask for with what Kconfig made of it, and checks
# the fragments themselves: no option twice, none without a reason.
#
#   check.sh CONFIG [FRAGMENT...]     default: all of fragments/
#
# Kconfig drops an option in silence when something that it depends on is
# missing; each such option is printed with the place that asks for it. Exit
# status: 0 all granted, 1 something is not, 2 wrong use.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# A fragment's line is an option, a comment or empty. An option follows a
# comment, with nothing but other options of its group in between.
lint() {
    awk '
        function complain(text) { print FILENAME ":" FNR ": " text; bad = 1 }
        FNR == 1 || /^$/ { reason = 0 }
        /^(CONFIG_[A-Z0-9_]+=|# CONFIG_[A-Z0-9_]+ is not set$)/ {
            name = $0
            sub(/^# /, "", name); sub(/[= ].*/, "", name)
            if (!reason) complain(name " has no reason above it")
            if (name in seen) complain(name " is already in " seen[name])
            seen[name] = FILENAME ":" FNR
            next
        }
        /^#/ { reason = 1; next }
        /./ { complain("neither an option nor a comment: " $0) }
        END { exit bad }
    ' "$@"
}

# An option that is not in the final configuration is off.
compare() {
    awk '
        function report(name, asked, got) {
            if (asked == got) return
            print FILENAME ":" FNR ": " name ": asked " asked ", got " got
            bad = 1
        }
        function name_of(line) { sub(/[= ].*/, "", line); return line }
        function value_of(line) { return substr(line, index(line, "=") + 1) }
        function final(name) { return name in value ? value[name] : "n" }
        FNR == NR { if (/^CONFIG_/) value[name_of($0)] = value_of($0); next }
        /^CONFIG_/ { report(name_of($0), value_of($0), final(name_of($0))) }
        /^# CONFIG_[A-Z0-9_]+ is not set$/ { report($2, "n", final($2)) }
        END { exit bad }
    ' "$@"
}

main() {
    if (($# == 0)) || [[ ! -s $1 ]]; then
        echo "usage: check.sh CONFIG [FRAGMENT...] (CONFIG: the kernel's final .config)" >&2
        exit 2
    fi
    local config=$1
    shift
    (($#)) || set -- "$here"/fragments/*.config
    local status=0
    lint "$@" >&2 || status=1
    compare "$config" "$@" >&2 || status=1
    if ((status)); then
        echo "check: the configuration is not what the fragments ask for (above)" >&2
    fi
    exit $status
}

main "$@"
