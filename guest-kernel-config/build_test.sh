#!/bin/bash
# Tests of build.sh around the compiler: what is built again and
# what comes from the cache, what is refused, two builds at once. Source package
# and recipe are small stand-ins.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() { echo "FAIL $*" >&2; exit 1; }

# A package with the one file that unpacking looks for.
make_package() {
    mkdir -p "$dir/deb/DEBIAN" "$dir/deb/usr/src" "$dir/linux"
    echo 'obj-y :=' >"$dir/linux/Makefile"
    tar -cJf "$dir/deb/usr/src/linux-source-6.12.tar.xz" -C "$dir" linux
    printf '%s\n' 'Package: linux-source-6.12' 'Version: 1' 'Architecture: all' \
        'Maintainer: nobody <nobody@localhost>' 'Description: stand-in' >"$dir/deb/DEBIAN/control"
    dpkg-deb --build "$dir/deb" "$dir/source.deb" >/dev/null
}

# A copy of this folder whose recipe notes that it ran and takes a while.
make_folder() {
    mkdir -p "$dir/config/fragments"
    cp "$here"/*.sh "$here/kernel.conf" "$dir/config"
    printf 'package=linux-source-6.12\nversion=1\nsha256=%s\n' \
        "$(sha256sum <"$dir/source.deb" | cut -d' ' -f1)" >"$dir/config/source.lock"
    printf '# Why.\nCONFIG_NET=y\n' >"$dir/config/fragments/net.config"
    cat >"$dir/config/compile.sh" <<'RECIPE'
#!/bin/bash
set -euo pipefail
[[ -e $2/Makefile ]]
echo ran >>"$(dirname "$0")/../runs"
sleep "${RECIPE_SECONDS:-0}"
mkdir -p "$3"
truncate -s "${RECIPE_SIZE:-1000}" "$3/vmlinux"
echo CONFIG_NET=y >"$3/config"
echo 6.12.0-test >"$3/release"
(cd "$3" && sha256sum vmlinux config release >sha256)
RECIPE
}

build() { "$dir/config/build.sh" "$@" >"$dir/log" 2>&1; }
runs() { wc -l <"$dir/runs"; }

# after TEXT RUNS: the recipe has run so many times by now.
after() {
    [[ $(runs) == "$2" ]] || fail "$1: the recipe ran $(runs) times, not $2; $(cat "$dir/log")"
    echo "ok   $1"
}

test_cache() {
    build || fail "build: $(cat "$dir/log")"
    [[ -s $KATA_MSHV_TARGET/guest/vmlinux && -s $KATA_MSHV_TARGET/guest/config ]] || fail "no result"
    grep -q 'vmlinux 1000 bytes (limit 25165824)' "$dir/log" || fail "no size: $(cat "$dir/log")"
    after "first build compiles" 1
    rm -r "$KATA_MSHV_TARGET/guest"
    build || fail "build from the cache: $(cat "$dir/log")"
    [[ -s $KATA_MSHV_TARGET/guest/vmlinux ]] || fail "no result from the cache"
    after "second build comes from the cache" 1
    sed -i 's/# Why./# A better reason./' "$dir/config/fragments/net.config"
    build
    after "a changed comment changes nothing" 1
    echo '# CONFIG_MODULES is not set' >>"$dir/config/fragments/net.config"
    build
    after "a changed option compiles" 2
}

test_tree() {
    local trees=("$KATA_MSHV_CACHE"/guest-kernel/tree-*)
    [[ ! -e ${trees[0]} ]] || fail "left ${trees[*]}"
    echo 'CONFIG_UNIX=y' >>"$dir/config/fragments/net.config"
    build --keep-tree
    build
    trees=("$KATA_MSHV_CACHE"/guest-kernel/tree-1-*/Makefile)
    [[ -e ${trees[0]} ]] || fail "the tree was not kept"
    after "the source is kept on request only" 3
}

test_damaged_cache() {
    local file
    for file in "$KATA_MSHV_CACHE"/guest-kernel/*/vmlinux; do echo damage >>"$file"; done
    build
    cmp -s "$KATA_MSHV_TARGET/guest/vmlinux" <(head -c 1000 /dev/zero) || fail "a damaged kernel came from the cache"
    after "a damaged cache entry is built again" 4
}

test_at_once() {
    echo 'CONFIG_INET=y' >>"$dir/config/fragments/net.config"
    RECIPE_SECONDS=1 "$dir/config/build.sh" >"$dir/log1" 2>&1 &
    RECIPE_SECONDS=1 "$dir/config/build.sh" >"$dir/log2" 2>&1 || fail "second of two: $(cat "$dir/log2")"
    wait $! || fail "first of two: $(cat "$dir/log1")"
    cat "$dir/log1" "$dir/log2" | grep -q 'waiting for another build' || fail "neither waited"
    after "two builds at once compile once" 5
}

# Another kernel of the same source: its own options, name, place and cache.
test_other_folder() {
    mkdir -p "$dir/other/fragments"
    printf '# Why.\nCONFIG_KVM=y\n' >"$dir/other/fragments/kvm.config"
    printf 'name=other kernel\nout=elsewhere\nlimit=2000\nsteps=1\n' >"$dir/other/kernel.conf"
    build "$dir/other" || fail "another folder: $(cat "$dir/log")"
    grep -q '^other kernel: .*vmlinux 1000 bytes (limit 2000)' "$dir/log" || fail "not its own: $(cat "$dir/log")"
    [[ -s $KATA_MSHV_TARGET/elsewhere/vmlinux ]] || fail "not in its own place"
    after "another folder's kernel is built beside" 6
    build
    after "and leaves this one in the cache" 6
}

test_refusals() {
    ! build --nonsense || fail "took a wrong argument"
    echo 'CONFIG_IPV6=y' >>"$dir/config/fragments/net.config"
    ! RECIPE_SIZE=25165825 build || fail "a kernel above the limit was accepted"
    grep -q 'more than the limit of 25165824' "$dir/log" || fail "the limit is not named"
    echo "ok   a kernel above the limit is refused"
    sed -i 's/^sha256=.*/sha256=00/' "$dir/config/source.lock"
    ! build || fail "a package with another checksum was accepted"
    grep -q 'source.deb is not the package of source.lock' "$dir/log" || fail "the package is not named: $(cat "$dir/log")"
    echo "ok   a package with another checksum is refused"
}

# With no package at hand, and one asked for that no archive has.
test_vanished_pin() {
    sed -i 's/^version=.*/version=0.0.1/' "$dir/config/source.lock"
    ! KATA_MSHV_LINUX_DEB="" build || fail "built a version that nobody has"
    grep -q 'pin.sh moves the pin' "$dir/log" || fail "no way out is named: $(cat "$dir/log")"
    echo "ok   a vanished version is named, with the way to move the pin"
}

make_package
make_folder
export KATA_MSHV_CACHE=$dir/cache KATA_MSHV_TARGET=$dir/target KATA_MSHV_LINUX_DEB=$dir/source.deb
test_cache
test_tree
test_damaged_cache
test_at_once
test_other_folder
test_refusals
test_vanished_pin
