#!/bin/bash
# Turns make's output on stdin, one line per step, into a bar on a terminal or
# a line every tenth of the way elsewhere, on stderr.
#
#   progress.sh STEPS NAME    lines of a whole build, and what is built; a
#                             longer one stays at 99 %
set -euo pipefail

clock() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

bar() {
    local filled
    printf -v filled '%*s' $(($1 * 30 / 100)) ''
    printf '\r%s: [%-30s] %3d %%  %s' "$name" "${filled// /#}" "$1" "$(clock)" >&2
}

# A line for each tenth that was reached since $2.
line() {
    (($1 / 10 == $2 / 10)) || echo "$name: compiled $(($1 / 10 * 10)) %, $(clock)" >&2
}

main() {
    local lines=0 shown=0 percent text show=line name=$2
    [[ -t 2 ]] && show=bar
    while IFS= read -r text; do
        [[ $text == "  "[A-Z]* ]] || continue
        lines=$((lines + 1))
        percent=$((lines * 100 / $1))
        percent=$((percent > 99 ? 99 : percent))
        ((percent == shown)) || "$show" "$percent" "$shown"
        shown=$percent
    done
    [[ $show == line ]] || echo >&2
}

main "$@"
