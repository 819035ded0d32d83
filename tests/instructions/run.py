#!/usr/bin/env python3
"""Counts the instructions that a call takes in the program, and holds them against
tests/instructions/figures.json. The only entry; `make test-instructions` calls it.

    tests/instructions/run.py --program target/programs/amd64/connector-bridge --valgrind /usr/bin/valgrind

--program   the program of the image, for this machine
--valgrind  valgrind, where it is or was unpacked
--update    writes what is counted to figures.json; the commit says why it changed

A machine's speed does not matter, and neither does what else it does: callgrind counts. The bridge is
asked by one caller at a time, with a real nats-server and worker, first for some calls and then for
many more. The difference is what the calls alone took. The kernel's work is not in it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES = Path(__file__).with_name("figures.json")

# How far a count may be from its figure, either way: what is saved is written down too.
MARGIN = 0.03


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--valgrind", type=Path, default=Path("/usr/bin/valgrind"))
    parser.add_argument("--update", action="store_true")
    return parser.parse_args()


def conditions():
    """What a count depends on beside the code."""
    compiler = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout
    return {"architecture": platform.machine(), "compiler": " ".join(compiler.split()[:2])}


def verdict(name, counted, known):
    figure = known["instructions"][name]
    share = counted / figure - 1
    print(f"{name}: {counted:,} instructions for a call, {share:+.1%} to {figure:,}", flush=True)
    if abs(share) <= MARGIN:
        return 0
    print(f"FAIL that is beyond {MARGIN:.0%}. If it is meant, write it down with --update, and say why in the commit")
    return 1


def main():
    options = arguments()
    sys.path.append(str(ROOT / "tests"))
    import bridge

    with tempfile.TemporaryDirectory(prefix="connector-bridge-instructions-") as folder:
        place = bridge.Place(
            folder=Path(folder),
            program=options.program.resolve(),
            valgrind=options.valgrind.resolve(),
            nats_server=ROOT / os.environ.get("NATS_SERVER", ".tools/nats-server/bin/nats-server"),
            nats_python=ROOT / os.environ.get("NATS_PY", ".tools/python"),
        )
        counted = {name: bridge.instructions_of_a_call(place, lines) for name, lines in bridge.SETTINGS.items()}
    if options.update:
        FIGURES.write_text(json.dumps({**conditions(), "instructions": counted}, indent=2) + "\n")
        print(f"{FIGURES.relative_to(ROOT)}: {counted}")
        return 0
    known = json.loads(FIGURES.read_text())
    here = conditions()
    if {name: known[name] for name in here} != here:
        print(f"NOT COMPARED: the figures are of {known['compiler']} for {known['architecture']}; here: {counted}")
        return 0
    return max(verdict(name, count, known) for name, count in counted.items())


if __name__ == "__main__":
    sys.exit(main())
