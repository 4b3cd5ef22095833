#!/bin/bash
# Moves the pin of the kernel's source: downloads a version of the Debian
# package, and writes version and checksum into source.lock.
#
#   pin.sh [VERSION]    default: the newest that the package lists know
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$here/source.lock

newest() { apt-cache madison "$1" | awk -F' *[|] *' 'NR == 1 { print $2 }'; }

main() {
    local package version dir sha256
    package=$(sed -n 's/^package=//p' "$lock")
    version=${1:-$(newest "$package")}
    [[ -n $version ]] || { echo "pin: the package lists have no $package" >&2; exit 1; }
    dir=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$dir'" EXIT
    (cd "$dir" && apt-get download "$package=$version")
    sha256=$(sha256sum "$dir"/*.deb | cut -d' ' -f1)
    sed -i "s/^version=.*/version=$version/; s/^sha256=.*/sha256=$sha256/" "$lock"
    echo "pin: $package $version, sha256 $sha256" >&2
}

main "$@"
