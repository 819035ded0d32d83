#!/usr/bin/env python3
"""How the bridge's cost grows with what it has to do. `make bench-scale` calls it.

    bench/scale.py --program target/release/connector-bridge

Options are those of bench/run.py; --only takes names of questions, and --picture draws the curves.
"""

import json
import resource
import signal
import sys
import time

import curves
import machine
import options as command_line
import questions
from options import ROOT, say
from process import Fault
from questions import QUESTIONS
from stage import Tools
from turn import Lengths

ROUNDS = 3
WARMUP_SECONDS = 0.7

# With --quick, points are left out for which more calls would have to be made first.
QUICK_CALLS_MAX = 10_000


def all_rounds(tools: Tools, lengths: Lengths, only: set[str], calls_max: float) -> dict:
    """Every point of every question once in each round."""
    rounds = []
    for number in range(lengths.rounds):
        found = {}
        for question in QUESTIONS:
            if only and question.name not in only:
                continue
            begun = time.monotonic()
            found[question.name] = {}
            for point in question.points:
                if point.filled > calls_max:
                    continue
                try:
                    measured = questions.measure(point, tools, lengths)
                except Fault as fault:
                    measured = {"void": True, "unfinished": 0, "errors": 0, "first_error": str(fault)}
                found[question.name][point.label] = measured
            say(f"round {number + 1} of {lengths.rounds}: {question.title} ({time.monotonic() - begun:.0f} s)")
        rounds.append(found)
    return {"machine": machine.line(tools), "rounds": rounds}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended then too
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for ten thousand connections at both ends
    options = command_line.parser(__doc__).parse_args()
    command_line.check_names(options.only, [question.name for question in QUESTIONS])
    lengths = Lengths(options.rounds or ROUNDS, options.seconds, WARMUP_SECONDS, starts=1)
    calls_max = float("inf")
    if options.quick:
        lengths = Lengths(rounds=1, seconds=0.3, warmup=0.2, starts=1)
        calls_max = QUICK_CALLS_MAX
    found = all_rounds(command_line.tools(options), lengths, options.only, calls_max)
    results = options.results or ROOT / "target/bench/scale.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=1) + "\n")
    print(curves.page(found["rounds"], found["machine"]))
    if options.picture:
        options.picture.write_text(curves.picture(found["rounds"], found["machine"]))


if __name__ == "__main__":
    main()
