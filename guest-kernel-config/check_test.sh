#!/bin/bash
# Tests of check.sh: it must fail, and say where and why, whenever the final
# configuration differs from what a fragment asks for.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

# expect NAME STATUS TEXT: check.sh on $dir/config and $dir/*.fragment ends
# with STATUS and prints TEXT.
expect() {
    local out status=0
    out=$("$here/check.sh" "$dir/config" "$dir"/*.fragment 2>&1) || status=$?
    if ((status != $2)) || [[ $out != *"$3"* ]]; then
        printf 'FAIL %s: status %s, expected %s and "%s" in:\n%s\n' "$1" "$status" "$2" "$3" "$out"
        failed=1
    else
        echo "ok   $1"
    fi
    rm -f "$dir"/*.fragment
}

fragment() { printf '%s\n' "${@:2}" >"$dir/$1.fragment"; }

cat >"$dir/config" <<'CONFIG'
CONFIG_NET=y
CONFIG_NR_CPUS=256
CONFIG_CMDLINE="a=1 b=2"
# CONFIG_MODULES is not set
CONFIG_DEVMEM=y
CONFIG

fragment a '# Why.' CONFIG_NET=y CONFIG_NR_CPUS=256 'CONFIG_CMDLINE="a=1 b=2"' '# CONFIG_MODULES is not set'
expect "all granted" 0 ""

fragment a '# Why.' CONFIG_NET=y '' '# Cannot be had: Kconfig knows no such option.' CONFIG_NO_SUCH_OPTION=y
expect "dropped option, with its place" 1 "a.fragment:5: CONFIG_NO_SUCH_OPTION: asked y, got n"

fragment a '# Why.' CONFIG_NR_CPUS=512
expect "changed number" 1 "a.fragment:2: CONFIG_NR_CPUS: asked 512, got 256"

fragment a '# Why.' 'CONFIG_CMDLINE="a=1"'
expect "changed text" 1 'CONFIG_CMDLINE: asked "a=1", got "a=1 b=2"'

fragment a '# Why.' '# CONFIG_DEVMEM is not set'
expect "not set, yet on" 1 "a.fragment:2: CONFIG_DEVMEM: asked n, got y"

fragment a '# Why.' CONFIG_DEVMEM=n
expect "=n, yet on" 1 "a.fragment:2: CONFIG_DEVMEM: asked n, got y"

fragment a '# Why.' CONFIG_MODULES=n CONFIG_ABSENT=n
expect "=n, and off or absent" 0 ""

fragment a '# Why.' CONFIG_NET=y
fragment b '# Why again.' CONFIG_NET=y
expect "twice" 1 "CONFIG_NET is already in $dir/a.fragment:2"

fragment a '# Why.' CONFIG_NET=y '' CONFIG_NR_CPUS=256
expect "no reason" 1 "a.fragment:4: CONFIG_NR_CPUS has no reason above it"

fragment a '# Why.' 'CONFIG_NET = y'
expect "malformed" 1 "a.fragment:2: neither an option nor a comment"

# Where a kernel was built: an option that Kconfig cannot grant, because the
# menu around it (NET_9P) is not asked for.
if [[ -s $here/../target/guest/config ]]; then
    cp "$here/../target/guest/config" "$dir/config"
    fragment a '# Why.' CONFIG_9P_FS=y
    expect "an option that the built kernel cannot have" 1 "a.fragment:2: CONFIG_9P_FS: asked y, got n"
fi
exit $failed
