#!/usr/bin/env python3
"""critest through runc and through our handler, in a bed (`bed up`), compared.

    run.py [--alone] IMAGES CRITEST [FOCUS]

IMAGES is what images.py made, CRITEST kubernetes-sigs/cri-tools' executable, FOCUS a
regular expression that names specs. Ends with 1 when our handler misses a spec that runc
passes, unless it is one of those that are known to, with a reason. Alone, without runc,
every spec that is not skipped is to pass.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

OURS = "kata-mshv-vm-isolation"

# Of images alone, which no handler sees, and of a registry, which is not there.
SKIP = "Image Manager|Image Consistency|Image Identifier|AppArmor|SELinux|benchmark"
# All others are to pass. Why not these: docs/critest.md.
KNOWN = {
    "HostIpc is true": "the guest has shared memory of its own",
    "HostNetwork is true": "the guest has a network of its own",
    "portforward in host network": "the guest has a network of its own",
    "mount with 'rshared'": "a mount in the guest is the guest's alone",
    "recursive readonly mount": "containerd offers it to runc's type of runtime alone",
}


def load(images):
    command = ["ctr", "-n", "k8s.io", "images", "import", images]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def passed(critest, handler, focus, folder):
    """Names of the specs that pass, and those that fail. critest tells how it goes."""
    print(f"critest with {handler} ...", flush=True)
    report = folder / f"{handler}.xml"
    endpoint = os.environ["CONTAINER_RUNTIME_ENDPOINT"]
    command = [
        critest,
        f"--runtime-endpoint={endpoint}",
        f"--image-endpoint={endpoint}",
        f"--runtime-handler={handler}",
        f"--ginkgo.junit-report={report}",
        f"--ginkgo.skip={SKIP}",
        "--ginkgo.no-color",
        "--ginkgo.v",
        "--ginkgo.timeout=2h",
    ]
    if focus:
        command.append(f"--ginkgo.focus={focus}")
    subprocess.run(command, stdout=sys.stderr, check=False)
    cases = xml.parse(report).getroot().iter("testcase")
    ends = {case.get("name"): case for case in cases if case.get("name").startswith("[It]")}
    return (
        {name for name, case in ends.items() if case.get("status") == "passed"},
        {name: case for name, case in ends.items()
         if case.get("status") not in ("passed", "skipped")},
    )


def reason(case):
    failure = case.find("failure")
    text = failure.get("message") or failure.text if failure is not None else case.get("status")
    return " ".join((text or "").split())[:300]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alone", action="store_true", help="without runc")
    parser.add_argument("images")
    parser.add_argument("critest")
    parser.add_argument("focus", nargs="?", default="")
    return parser.parse_args()


def main():
    args = arguments()
    load(args.images)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        expected = set()
        if not args.alone:
            expected, _ = passed(args.critest, "runc", args.focus, folder)
        ours, failed = passed(args.critest, OURS, args.focus, folder)
    if args.alone:
        expected = ours | set(failed)
    missed = sorted(expected - ours)
    known = [name for name in missed if any(part in name for part in KNOWN)]
    who = "critest has" if args.alone else "runc passes"
    print(f"\n{who} {len(expected)}, {OURS} passes {len(ours)} of the same specs and "
          f"{len(ours - expected)} others")
    for name in missed:
        why = next((why for part, why in KNOWN.items() if part in name), None)
        told = reason(failed[name]) if name in failed else "skipped"
        print(f"  {'known: ' + why if why else 'MISSED'}\n    {name}\n    {told}")
    # The form of a test's last line.
    print(f"\ncritest: {len(expected & ours)} passed, {len(missed) - len(known)} failed, "
          f"{len(known)} skipped")
    return 1 if len(missed) > len(known) or not expected else 0


if __name__ == "__main__":
    sys.exit(main())
