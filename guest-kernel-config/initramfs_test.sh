#!/bin/bash
# Tests of initramfs.sh: what is in the archive, that it is reproducible, and
# that it refuses what would not boot or is too large.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() { echo "FAIL $*" >&2; exit 1; }

# compile NAME SOURCE FLAGS...
compile() { gcc -x c "${@:3}" -o "$dir/$1" - <<<"$2"; }

# refuses NAME TEXT: initramfs.sh fails on $dir/NAME, saying TEXT.
refuses() {
    local out
    ! out=$("$here/initramfs.sh" "$dir/$1" "$dir/refused.cpio" 2>&1) || fail "$1 was packed"
    [[ $out == *"$2"* ]] || fail "$1: no \"$2\" in: $out"
    echo "ok   $1 is refused"
}

# Device numbers too, which stand where a file's size does.
listing() {
    bsdtar --numeric-owner -tvf "$1" | awk '{ print $1, $3, $4, (/^c/ ? $5 " " : "") $NF }'
}

expected() {
    cat <<'LIST'
drwxr-xr-x 0 0 ./dev/
crw------- 0 0 5,1 ./dev/console
crw-rw-rw- 0 0 1,3 ./dev/null
-rwxr-xr-x 0 0 ./init
dr-xr-xr-x 0 0 ./proc/
drwxr-xr-x 0 0 ./run/
dr-xr-xr-x 0 0 ./sys/
LIST
}

test_contents() {
    "$here/initramfs.sh" "$dir/agent" "$dir/one.cpio" 2>/dev/null
    [[ $(head -c 6 "$dir/one.cpio") == 070701 ]] || fail "not an uncompressed newc archive"
    diff <(expected) <(listing "$dir/one.cpio") || fail "the archive's members differ"
    bsdtar -xOf "$dir/one.cpio" ./init | cmp - "$dir/agent" || fail "/init is not the agent"
    echo "ok   members, modes, owners, the agent"
}

test_reproducible() {
    mkdir "$dir/a b"
    cp "$dir/agent" "$dir/a b/#other name"
    chmod 0700 "$dir/a b/#other name"
    (umask 077 && "$here/initramfs.sh" "$dir/a b/#other name" "$dir/two.cpio" 2>/dev/null)
    cmp "$dir/one.cpio" "$dir/two.cpio" || fail "another name, inode, mode and time of the agent show in the archive"
    echo "ok   same agent, same bytes"
}

test_at_once() {
    local first number pids=()
    first=$(stat -c %i "$dir/one.cpio" "$dir/one.cpio.crc32")
    for number in {1..8}; do
        "$here/initramfs.sh" "$dir/agent" "$dir/one.cpio" 2>"$dir/said-$number" &
        pids+=($!)
    done
    for number in "${!pids[@]}"; do
        wait "${pids[number]}" || fail "one of eight at once: $(cat "$dir/said-$((number + 1))")"
    done
    [[ $(stat -c %i "$dir/one.cpio" "$dir/one.cpio.crc32") == "$first" ]] || fail "the same was put in its own place"
    "$here/initramfs.sh" "$dir/other" "$dir/one.cpio" 2>/dev/null
    [[ $(cat "$dir/one.cpio.crc32") != "$(cat "$dir/two.cpio.crc32")" ]] || fail "another agent, and the same checksum"
    echo "ok   eight at once; the same again leaves what is there"
}

compile agent 'int main(void) { return 0; }' -static
compile other 'int main(void) { return 1; }' -static
compile dynamic 'int main(void) { return 0; }'
compile large 'char text[7 << 20] = "x"; int main(void) { return 0; }' -static
echo 'exit 0' >"$dir/script"

test_contents
test_reproducible
test_at_once
refuses dynamic "is not static"
refuses large "larger than its limit of 6291456"
refuses script "is not an ELF program"
refuses absent "there is no agent"
