#!/bin/bash
# The recipe: compiles an unpacked kernel source under the options of a
# folder's fragments/, checks that Kconfig granted them all, and puts vmlinux
# (stripped), config, release and sha256 into OUT. The same inputs make the same
# bytes. build.sh calls it when its cache has no result of this recipe yet.
#
#   compile.sh FOLDER SOURCE OUT
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

setting() { sed -n "s/^$1=//p" "$folder/kernel.conf"; }

# Nothing of the caller's environment gets into the result: no flags, no
# user, host or hour, no mark of a git repository around the source.
kernel_make() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CROSS_COMPILE -u KCFLAGS \
        LC_ALL=C ARCH=x86_64 LOCALVERSION= \
        KBUILD_BUILD_USER=build KBUILD_BUILD_HOST=kata-mshv KBUILD_BUILD_VERSION=1 \
        KBUILD_BUILD_TIMESTAMP="$(date -u -r "$source/COPYING")" \
        make -C "$source" "$@"
}

fail_with_log() {
    tail -n 30 "$log" >&2
    echo "$(setting name): the build failed; its last lines are above, the whole log is $log" >&2
    exit 1
}

configure() {
    cat "$folder"/fragments/*.config >"$source/fragments.config"
    kernel_make allnoconfig KCONFIG_ALLCONFIG=fragments.config >"$log" 2>&1 || fail_with_log
    "$here/check.sh" "$source/.config" "$folder"/fragments/*.config
}

compile() {
    kernel_make -j"$(nproc)" vmlinux 2>&1 | tee -a "$log" |
        "$here/progress.sh" "$(setting steps)" "$(setting name)" || fail_with_log
}

collect() {
    mkdir -p "$1"
    strip --strip-all -o "$1/vmlinux" "$source/vmlinux"
    cp "$source/.config" "$1/config"
    cp "$source/include/config/kernel.release" "$1/release"
    (cd "$1" && sha256sum vmlinux config release >sha256)
}

(($# == 3)) || { echo "usage: compile.sh FOLDER SOURCE OUT" >&2; exit 2; }
folder=$1
source=$2
log=$source/build.log
configure
compile
collect "$3"
