#!/bin/bash
# Installs the Debian packages that are missing, by purpose. Says nothing when
# none is; asks the archive for new lists only when it has to.
#
#   deps.sh [PURPOSE...]     rust, kernel, initramfs, vm, containers, test;
#                            default: all
set -euo pipefail

declare -A packages=(
    # Static binaries: C libraries as archives, their headers, and the tools by
    # which crates find them and generate code.
    [rust]="gcc libc6-dev make pkg-config libseccomp-dev libcap-ng-dev libelf-dev zlib1g-dev protobuf-compiler"
    # linux-source's own needs for a vmlinux without modules, and unpacking it.
    [kernel]="gcc libc6-dev make flex bison bc perl libelf-dev xz-utils binutils"
    # bsdtar writes device nodes without being root.
    [initramfs]="libarchive-tools binutils"
    # What runs a pod's machine, and its network.
    [vm]="qemu-system-x86 iproute2"
    # containerd with runc and CNI for the demo, what its images are made of, and
    # what makes pools of thin volumes for a snapshotter.
    [containers]="containerd runc containernetworking-plugins iptables busybox-static dmsetup"
    [test]="shellcheck curl g++"
)
readonly purposes=(rust kernel initramfs vm containers test)

die() {
    echo "deps: $*" >&2
    exit 1
}

installed() { [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]; }

# Prints the missing packages of the purposes, each once.
missing() {
    local purpose package
    for purpose in "$@"; do
        for package in ${packages[$purpose]}; do
            installed "$package" || echo "$package"
        done
    done | sort -u
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

lists_have() {
    local package
    for package in "$@"; do
        apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]' || return 1
    done
}

refresh_lists() {
    echo "deps: apt-get update" >&2
    as_root apt-get -qq update
}

install_packages() {
    echo "deps: installing $*" >&2
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

require_debian() {
    command -v apt-get >/dev/null || die "this is not Debian; install the equivalents of: $(missing "$@" | xargs)"
    ((EUID == 0)) || command -v sudo >/dev/null ||
        die "missing packages, and neither root nor sudo to install them: $(missing "$@" | xargs)"
}

main() {
    local purpose wanted
    (($#)) || set -- "${purposes[@]}"
    for purpose in "$@"; do
        [[ -n ${packages[$purpose]:-} ]] || die "no purpose $purpose; there are: ${purposes[*]}"
    done
    mapfile -t wanted < <(missing "$@")
    ((${#wanted[@]})) || return 0
    require_debian "$@"
    lists_have "${wanted[@]}" || refresh_lists
    # A version in old lists may be gone from the archive.
    install_packages "${wanted[@]}" || { refresh_lists; install_packages "${wanted[@]}"; }
}

main "$@"
