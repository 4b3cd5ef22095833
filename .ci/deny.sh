#!/bin/bash
# Licences, sources and bans of every dependency, as deny.toml has them. The
# checker is built once, into the cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly version=0.20.2
cache=${KATA_MSHV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kata-mshv-vm-isolation}
deny=$cache/tools/bin/cargo-deny

# Unoptimized: it runs for a second and would compile for minutes more. Built
# outside of this folder, whose flags are for the product's binaries.
[[ -x $deny ]] || {
    echo "deny: building cargo-deny $version, once" >&2
    (cd / && cargo install --quiet --locked --debug --version "$version" --root "$cache/tools" cargo-deny)
}
"$deny" check --hide-inclusion-graph licenses bans sources
