#!/bin/bash
# Takes away what install.sh put in place: the files of install.list, the
# configuration unless it was changed, and the project's own folders if they
# are empty then. DESTDIR as for install.sh.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${DESTDIR:-}

readonly shipped=/usr/share/kata-mshv-vm-isolation/config.toml
readonly active=/etc/kata-mshv-vm-isolation/config.toml

# The project's own folders, innermost first.
readonly folders=(
    /etc/kata-mshv-vm-isolation/config.d
    /etc/kata-mshv-vm-isolation
    /usr/libexec/kata-mshv-vm-isolation
    /usr/share/kata-mshv-vm-isolation/containerd
    /usr/share/kata-mshv-vm-isolation/samples
    /usr/share/kata-mshv-vm-isolation
)

remove() {
    [[ -e $root$1 ]] || return 0
    rm -f "$root$1"
    echo "removed $root$1"
}

# Compared with the shipped one, which therefore goes last.
remove_config() {
    [[ -e $root$active ]] || return 0
    if cmp -s "$root$active" "$root$shipped"; then
        remove "$active"
    else
        echo "uninstall: kept your $root$active"
    fi
}

main() {
    local destination folder
    remove_config
    while read -r _ _ destination; do
        remove "$destination"
    done < <(grep -v '^#' "$here/install.list")
    for folder in "${folders[@]}"; do
        [[ ! -d $root$folder ]] || rmdir --ignore-fail-on-non-empty "$root$folder"
    done
}

main
