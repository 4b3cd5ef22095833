#!/bin/bash
# Puts a node's files in place, as install.list names them, and the default
# configuration where there is none. Repeating it upgrades: each file is
# replaced in one step, so running pods and containerd never see half of one.
#
# DESTDIR           put everything under this folder (packaging, tests)
# KATA_MSHV_BIN     release binaries    (target/x86_64-unknown-linux-gnu/release)
# KATA_MSHV_GUEST   vmlinux, initramfs  (target/guest)
# KATA_MSHV_CONFIG  default configuration (config/config.toml)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$here")
root=${DESTDIR:-}
bin=${KATA_MSHV_BIN:-$repo/target/x86_64-unknown-linux-gnu/release}
guest=${KATA_MSHV_GUEST:-$repo/target/guest}
config=${KATA_MSHV_CONFIG:-$repo/config/config.toml}

readonly shipped=/usr/share/kata-mshv-vm-isolation/config.toml
readonly active=/etc/kata-mshv-vm-isolation/config.toml

# Lines of install.list: mode, source, destination.
files() {
    grep -v '^#' "$here/install.list" | while read -r mode source destination; do
        source=${source//@BIN@/$bin} source=${source//@GUEST@/$guest}
        source=${source//@REPO@/$repo} source=${source//@CONFIG@/$config}
        printf '%s\t%s\t%s\n' "$mode" "$source" "$destination"
    done
}

require_built() {
    local source missing=0
    while IFS=$'\t' read -r _ source _; do
        [[ -f $source ]] || { echo "install: $source is missing" >&2; missing=1; }
    done < <(files)
    ((missing == 0)) || { echo "install: build first (make)" >&2; exit 1; }
}

# place MODE SOURCE DESTINATION
place() {
    mkdir -p "$(dirname "$root$3")"
    install -m "$1" "$2" "$root$3.new"
    # That of the file before is none of this one's.
    rm -f "$root$3.crc32"
    mv -f "$root$3.new" "$root$3"
    echo "$root$3"
}

# A configuration that differs from the one shipped before is the operator's.
# Compared before the shipped one is replaced.
config_is_operators() {
    [[ -e $root$active ]] && ! cmp -s "$root$active" "$root$shipped"
}

place_config() {
    if config_is_operators; then
        echo "install: kept your $root$active; the new defaults are in $root$shipped"
    else
        place 0644 "$config" "$active"
    fi
    mkdir -p "$root${active%/*}/config.d"
}

say_next() {
    cat <<NEXT

Next, tell containerd of the handler. In /etc/containerd/config.toml, if it says
  version = 3   add at its top
                imports = ["/usr/share/kata-mshv-vm-isolation/containerd/config-v3.toml"]
  version = 2   append the contents of
                /usr/share/kata-mshv-vm-isolation/containerd/config-v2.toml
then restart containerd, and once per cluster:
  kubectl apply -f /usr/share/kata-mshv-vm-isolation/runtimeclass.yaml
NEXT
}

main() {
    local mode source destination
    require_built
    place_config
    while IFS=$'\t' read -r mode source destination; do
        place "$mode" "$source" "$destination"
    done < <(files)
    say_next
}

main
