#!/usr/bin/env python3
"""Builds the image from deploy/Dockerfile and checks it, without a container engine. The only entry;
`make test-image` calls it, as root.

    tests/image/run.py --tools .tools/image-tests --programs target/programs

--tools     where tests/image/fetch-tools has put its tools
--programs  what deploy/build-static has built, a folder for each architecture
--only      checks whose name has this in it

The image stays in target/oci, in the layout of the Open Container Initiative.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools/image-tests")
    parser.add_argument("--programs", type=Path, default=ROOT / "target/programs")
    parser.add_argument("--only", default="")
    return parser.parse_args()


def main():
    options = arguments()
    if os.geteuid() != 0:
        print("SKIPPED: the image is only built and run as root")
        return 0
    sys.path.append(str(ROOT / "tests"))
    import building
    import checking
    import checks

    with tempfile.TemporaryDirectory(prefix="connector-bridge-image-") as scratch:
        subject = checks.Subject(
            root=ROOT,
            tools=building.Tools(options.tools.resolve(), Path(scratch)),
            programs=options.programs.resolve(),
            layout=ROOT / "target/oci",
            nats_server=ROOT / os.environ.get("NATS_SERVER", ".tools/nats-server/bin/nats-server"),
            nats_python=ROOT / os.environ.get("NATS_PY", ".tools/python"),
            revision=subprocess.run(
                ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
            ).stdout.strip(),
        )
        chosen = [check for check in checks.ALL if options.only in check.__name__]
        total = checking.carry_out(chosen, subject)
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
