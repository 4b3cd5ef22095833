#!/bin/bash
# Tests that containerd understands the handler as README.md has it included,
# and that the node's own settings stay: asks `containerd config dump`.
#
#   containerd_test.sh [CONTAINERD...]    default: the one in PATH
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() { echo "FAIL $*" >&2; exit 1; }

# A node's configuration with settings of its own, in version 2 and 3.
node_v2() {
    cat <<'CONFIG'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "example.com/pause:1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
CONFIG
}

node_v3() {
    cat <<CONFIG
version = 3
imports = ["$here/containerd/config-v3.toml"]
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "example.com/pause:1"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
CONFIG
}

# check CONTAINERD CASE: of the configuration on stdin.
check() {
    local dump wanted
    local devices='privileged_without_host_devices_all_devices_allowed = true'
    # It passes over what it does not know.
    [[ $2 == 1.6.* ]] && devices=
    cat >"$dir/config.toml"
    dump=$("$1" --config "$dir/config.toml" config dump 2>"$dir/log") || fail "$2: $(cat "$dir/log")"
    # 2.x quotes with ', 1.x with ".
    dump=$(tr "'" '"' <<<"$dump")
    for wanted in \
        'containerd.runtimes.kata-mshv-vm-isolation]' \
        'runtime_type = "io.containerd.kata-mshv-vm-isolation.v2"' \
        'pod_annotations = ["io.katacontainers.*"]' \
        'container_annotations = ["io.katacontainers.*"]' \
        'privileged_without_host_devices = true' \
        "$devices" \
        'containerd.runtimes.runc]' \
        'example.com/pause:1'; do
        [[ $dump == *"$wanted"* ]] || fail "$2: containerd's configuration has no $wanted"
    done
    echo "ok   $2"
}

main() {
    local containerd version
    for containerd in "$@"; do
        version=$("$containerd" --version | awk '{ print $3 }')
        { node_v2; cat "$here/containerd/config-v2.toml"; } |
            check "$containerd" "$version, appended to a version 2 file"
        [[ $version == 1.* ]] ||
            node_v3 | check "$containerd" "$version, imported by a version 3 file"
    done
}

(($#)) || set -- containerd
main "$@"
