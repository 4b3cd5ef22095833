#!/bin/bash
# Tests of install.sh and uninstall.sh, in a folder of their own, with dummies
# for what the build makes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

export DESTDIR=$dir/node
export KATA_MSHV_BIN=$dir/bin KATA_MSHV_GUEST=$dir/guest KATA_MSHV_CONFIG=$dir/config.toml
config=$DESTDIR/etc/kata-mshv-vm-isolation/config.toml

fail() { echo "FAIL $*" >&2; exit 1; }

make_dummies() {
    mkdir -p "$KATA_MSHV_BIN" "$KATA_MSHV_GUEST"
    local name
    for name in containerd-shim-kata-mshv-vm-isolation-v2 kata-mshv kata-mshv-fs kata-mshv-vsock kata-mshv-vmm; do
        echo "$name" >"$KATA_MSHV_BIN/$name"
    done
    echo vmlinux >"$KATA_MSHV_GUEST/vmlinux"
    echo initramfs >"$KATA_MSHV_GUEST/initramfs.cpio"
    echo 00000000 | tee "$KATA_MSHV_GUEST/vmlinux.crc32" >"$KATA_MSHV_GUEST/initramfs.cpio.crc32"
    echo '# default 1' >"$KATA_MSHV_CONFIG"
}

# Mode and path of every file and of the configuration's folder.
installed() { (cd "$DESTDIR" && find . \( -type f -o -name config.d \) -printf '%m %P\n' | sort -k2); }

expected() {
    cat <<'LIST'
644 etc/kata-mshv-vm-isolation/config.toml
755 etc/kata-mshv-vm-isolation/config.d
755 usr/bin/containerd-shim-kata-mshv-vm-isolation-v2
755 usr/bin/kata-mshv
755 usr/libexec/kata-mshv-vm-isolation/kata-mshv-fs
755 usr/libexec/kata-mshv-vm-isolation/kata-mshv-vsock
755 usr/libexec/kata-mshv-vm-isolation/kata-mshv-vmm
644 usr/share/kata-mshv-vm-isolation/config.toml
644 usr/share/kata-mshv-vm-isolation/containerd/config-v2.toml
644 usr/share/kata-mshv-vm-isolation/containerd/config-v3.toml
644 usr/share/kata-mshv-vm-isolation/initramfs.cpio
644 usr/share/kata-mshv-vm-isolation/initramfs.cpio.crc32
644 usr/share/kata-mshv-vm-isolation/runtimeclass.yaml
644 usr/share/kata-mshv-vm-isolation/samples/trusted-app.yaml
644 usr/share/kata-mshv-vm-isolation/samples/untrusted-app.yaml
644 usr/share/kata-mshv-vm-isolation/vmlinux
644 usr/share/kata-mshv-vm-isolation/vmlinux.crc32
LIST
}

install_node() { "$here/install.sh" >"$dir/log" 2>&1; }
uninstall_node() { "$here/uninstall.sh" >"$dir/log" 2>&1; }

nothing_left() { [[ -z $(find "$DESTDIR" -type f) && -z $(find "$DESTDIR" -name 'kata-mshv*') ]]; }

test_list() {
    install_node || fail "install: $(cat "$dir/log")"
    diff <(expected | sort -k2) <(installed) || fail "installed files differ"
    install_node || fail "second install: $(cat "$dir/log")"
    diff <(expected | sort -k2) <(installed) || fail "files differ after a second install"
    uninstall_node
    nothing_left || fail "left: $(find "$DESTDIR")"
    uninstall_node || fail "second uninstall: $(cat "$dir/log")"
    echo "ok   install, install again, uninstall, uninstall again"
}

test_unchanged_config_is_upgraded() {
    install_node
    echo '# default 2' >"$KATA_MSHV_CONFIG"
    install_node
    [[ $(cat "$config") == '# default 2' ]] || fail "unchanged configuration kept its old defaults"
    uninstall_node
    nothing_left || fail "left: $(find "$DESTDIR")"
    echo "ok   an unchanged configuration follows the defaults"
}

test_operators_config_is_kept() {
    install_node
    echo 'driver = "qemu"' >"$config"
    echo '# default 3' >"$KATA_MSHV_CONFIG"
    install_node
    [[ $(cat "$config") == 'driver = "qemu"' ]] || fail "the operator's configuration was overwritten"
    grep -q "kept your $config" "$dir/log" || fail "install does not say that it kept the configuration"
    uninstall_node
    [[ $(find "$DESTDIR" -type f) == "$config" ]] || fail "uninstall left $(find "$DESTDIR" -type f), not the changed configuration"
    rm -rf "$DESTDIR"
    echo "ok   a changed configuration survives install and uninstall"
}

test_drop_ins_are_kept() {
    install_node
    echo '[guest]' >"$DESTDIR/etc/kata-mshv-vm-isolation/config.d/site.toml"
    uninstall_node
    [[ -e $DESTDIR/etc/kata-mshv-vm-isolation/config.d/site.toml ]] || fail "a drop-in was removed"
    rm -rf "$DESTDIR"
    echo "ok   the operator's drop-ins survive uninstall"
}

test_missing_binary() {
    rm "$KATA_MSHV_BIN/kata-mshv-fs"
    ! install_node || fail "installed without kata-mshv-fs"
    grep -q "kata-mshv-fs is missing" "$dir/log" || fail "the missing file is not named: $(cat "$dir/log")"
    [[ ! -e $DESTDIR ]] || fail "half an installation: $(find "$DESTDIR")"
    echo "ok   nothing is installed when something is not built"
}

make_dummies
test_list
test_unchanged_config_is_upgraded
test_operators_config_is_kept
test_drop_ins_are_kept
test_missing_binary
