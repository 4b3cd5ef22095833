#!/bin/bash
# Packs the agent into the guest's initramfs: an uncompressed newc archive, as
# initramfs.mtree lists it. Needs no privilege, device nodes included.
#
# What is there already stays: machines may be booting from it.
#
#   initramfs.sh AGENT OUT
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Bytes. Both are copied into every guest's memory.
readonly agent_limit=$((6 * 1024 * 1024))
readonly initramfs_limit=$((8 * 1024 * 1024))

die() { echo "initramfs: $*" >&2; exit 1; }

# within FILE LIMIT
within() {
    local size
    size=$(stat -Lc %s "$1")
    echo "initramfs: $1 $size bytes (limit $2)" >&2
    ((size <= $2)) || die "$1 is larger than its limit of $2 bytes"
}

# The guest has no dynamic linker.
require_static() {
    readelf -hW "$1" >/dev/null 2>&1 || die "$1 is not an ELF program"
    ! readelf -lW "$1" | grep -q INTERP || die "$1 is not static"
}

# The list names the agent's file relative to the folder bsdtar runs in. By way
# of ustar, which has no inode numbers: newc would record the agent's own.
pack() {
    local dir
    dir=$(mktemp -d)
    ln -s "$(realpath "$1")" "$dir/agent"
    (cd "$dir" && bsdtar --format=ustar -cf - "@$here/initramfs.mtree") |
        bsdtar --format=newc -cf "$2.new" @-
    rm -rf "$dir"
}

# publish OUT: what was packed takes the place of what is there, if it differs.
publish() {
    if cmp -s "$1.new" "$1"; then
        rm "$1.new"
    else
        rm -f "$1.crc32"
        mv "$1.new" "$1"
    fi
    [[ -s $1.crc32 ]] || "$here/crc32.sh" "$1"
}

main() {
    (($# == 2)) || die "usage: initramfs.sh AGENT OUT"
    command -v bsdtar >/dev/null || die "missing bsdtar; .ci/deps.sh initramfs installs it"
    [[ -f $1 ]] || die "there is no agent at $1"
    require_static "$1"
    within "$1" "$agent_limit"
    mkdir -p "$(dirname "$2")"
    # One at a time: `make test` has two builds at once.
    exec 9<"$(dirname "$2")"
    flock 9
    pack "$1" "$2"
    publish "$2"
    within "$2" "$initramfs_limit"
}

main "$@"
