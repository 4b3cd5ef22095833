#!/bin/bash
# Builds a kernel from Debian's source (source.lock) and a folder's fragments/,
# as the folder's kernel.conf says, into target/guest/{vmlinux,config} or what
# else is its place. A kernel that was built from the same inputs before is
# taken from the cache.
#
#   build.sh [--keep-tree] [FOLDER]    FOLDER: default is this one, the guest's
#
#   --keep-tree    keep source and objects in the cache from now on, so that
#                  builds compile only what a change touches
#
# KATA_MSHV_CACHE      the cache, ~/.cache/kata-mshv-vm-isolation
# KATA_MSHV_TARGET     what the result's place is below, target
# KATA_MSHV_LINUX_DEB  the source package, where there is no archive to ask
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KATA_MSHV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kata-mshv-vm-isolation}
target=${KATA_MSHV_TARGET:-$here/../target}

say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }

# setting FOLDER KEY
setting() { sed -n "s/^$2=//p" "$1/kernel.conf"; }
locked() { sed -n "s/^$1=//p" "$here/source.lock"; }

# Of what decides the result: source, recipe, options. Not of their comments.
inputs_checksum() {
    {
        locked sha256
        sha256sum <"$here/compile.sh"
        grep -hE '^(CONFIG_|# CONFIG_[A-Z0-9_]+ is not set$)' "$folder"/fragments/*.config | sort
    } | sha256sum | cut -c1-32
}

require_tools() {
    local tool missing=()
    for tool in apt-get dpkg-deb flock make gcc flex bison bc perl strip xz; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || die "missing ${missing[*]}; .ci/deps.sh kernel installs them"
}

# Prints the path of the source package.
source_package() {
    local package version sha256 deb
    package=$(locked package) version=$(locked version) sha256=$(locked sha256)
    deb=${KATA_MSHV_LINUX_DEB:-$cache/downloads/${package}_${version}_all.deb}
    [[ -e $deb ]] || download "$package=$version" "$deb"
    echo "$sha256  $deb" | sha256sum --check --status ||
        die "$deb is not the package of source.lock (sha256 differs); remove it and build again"
    echo "$deb"
}

download() {
    local dir
    dir=$(mktemp -d)
    say "downloading $1"
    if ! (cd "$dir" && apt-get download "$1") >"$dir/apt.log" 2>&1; then
        cat "$dir/apt.log" >&2
        rm -rf "$dir"
        die "cannot get $1. If the package lists are old or empty, refresh them
(apt-get update) and build again. If the version is still not found, Debian has
replaced it by a newer one: guest-kernel-config/pin.sh moves the pin; commit
the source.lock that it writes."
    fi
    mkdir -p "$(dirname "$2")"
    mv "$dir"/*.deb "$2"
    rm -rf "$dir"
}

# Unpacks the source into $1, unless an earlier build left it there.
unpack() {
    local deb package
    [[ ! -e $1 ]] || return 0
    deb=$(source_package)
    package=$(locked package)
    say "unpacking $package $(locked version)"
    rm -rf "$1.new"
    mkdir -p "$1.new"
    dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" |
        tar -xJ --strip-components=1 -C "$1.new"
    mv "$1.new" "$1"
}

# Unless it is to be kept. Renamed first: a removal that is cut short must not
# leave a tree that looks whole.
discard() {
    [[ -e $1 && ! -e $1.keep ]] || return 0
    rm -rf "$1.old"
    mv "$1" "$1.old"
    rm -rf "$1.old"
}

intact() { [[ -e $1/sha256 ]] && (cd "$1" && sha256sum --check --status sha256); }

# Fills cache entry $1 from tree $2, in one step at the end: nobody sees half
# of it.
build() {
    local started=$SECONDS
    require_tools
    unpack "$2"
    rm -rf "$1" "$1.new"
    "$here/compile.sh" "$folder" "$2" "$1.new"
    mv "$1.new" "$1"
    say "built in $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
}

# Copies: a link would let whoever damages target/guest damage the cache.
publish() {
    local size
    size=$(stat -c %s "$1/vmlinux")
    ((size <= limit)) || die "vmlinux has $size bytes, more than the limit of $limit"
    mkdir -p "$out"
    install -m 0644 "$1/config" "$out/config"
    cmp -s "$1/vmlinux" "$out/vmlinux" || {
        install -m 0644 "$1/vmlinux" "$out/vmlinux.new"
        rm -f "$out/vmlinux.crc32"
        mv "$out/vmlinux.new" "$out/vmlinux"
    }
    [[ -s $out/vmlinux.crc32 ]] || "$here/crc32.sh" "$out/vmlinux"
    say "$(cat "$1/release"), vmlinux $size bytes (limit $limit)"
}

# Sets what the folder's kernel.conf says.
choose() {
    folder=$1
    [[ -s $folder/kernel.conf ]] || { echo "usage: build.sh [--keep-tree] [FOLDER]" >&2; exit 2; }
    name=$(setting "$folder" name)
    limit=$(setting "$folder" limit)
    out=$target/$(setting "$folder" out)
    kernels=$cache/${name// /-}
}

main() {
    local entry tree source keep=
    [[ ${1:-} != --keep-tree ]] || { keep=yes; shift; }
    choose "${1:-$here}"
    (($# <= 1)) || die "one folder at a time"
    [[ $(uname -m) == x86_64 ]] || die "only x86_64 kernels are built, on x86_64"
    entry=$kernels/$(inputs_checksum)
    source=$(locked sha256)
    tree=$kernels/tree-$(locked version)-${source:0:8}
    mkdir -p "$kernels"
    exec 9>"$kernels/lock"
    flock --nonblock 9 || { say "waiting for another build"; flock 9; }
    [[ -z $keep ]] || touch "$tree.keep"
    intact "$entry" || build "$entry" "$tree"
    publish "$entry"
    discard "$tree"
}

main "$@"
