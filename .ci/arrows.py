#!/usr/bin/env python3
"""Which crate may depend on which of ours. What is not listed is refused.

docs/design.md draws the same arrows.
"""

import json
import subprocess
import sys

ALLOWED = {
    "protocol": set(),
    "vmm-api": set(),
    "probe": set(),
    "lab": {"probe"},
    "monitor": {"vmm-api"},
    "config": set(),
    "vsock-device": set(),
    "fs-device": set(),
    "agent": {"protocol"},
    "shim": {"protocol", "config", "vmm-api", "probe"},
    "ctl": {"protocol", "config", "vmm-api", "probe"},
    "fuzz": {"monitor", "protocol", "vmm-api", "vsock-device"},
    "e2e": {"ctl", "lab", "protocol", "config", "vmm-api", "probe"},
}


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def wrong_arrows(packages):
    ours = {package["name"] for package in packages}
    for package in packages:
        name = package["name"]
        if name not in ALLOWED:
            yield f"{name} is not in the table of allowed arrows"
            continue
        # A test may use whatever it likes of ours.
        used = {d["name"] for d in package["dependencies"] if d["kind"] != "dev"}
        for other in sorted((used & ours) - ALLOWED[name]):
            yield f"{name} -> {other} is not allowed"


def main():
    wrong = list(wrong_arrows(metadata()["packages"]))
    for line in wrong:
        print(f"arrows: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
