#!/usr/bin/env python3
"""Measures the bridge side by side with others, by turns, on this machine. The only entry; `make bench` calls it.

    bench/run.py --program target/release/connector-bridge

--program      the connector-bridge to measure
--programs     where what bench/Cargo.toml builds is
--packages     where `make` has put what the bridges in Node and Python need
--nats-server  the nats-server to run
--rounds       how often each system has its turn
--seconds      how long each measurement counts; it is warmed up before that
--quick        one short round: does everything work?
--only         names of systems, with commas; the naive bridge is always there
--results      where all raw values go, as JSON
--picture      where a picture of the ratios goes, as SVG
"""

import json
import signal
import sys
import time

import goals
import machine
import options as command_line
import picture
import tables
import turn
from options import ROOT, say
from stage import Tools
from systems import NAIVE, SYSTEMS
from turn import LOW_RATE, Lengths

ROUNDS = 5
WARMUP_SECONDS = 0.7
STARTS_IN_EACH_TURN = 2


def side_by_side(tools: Tools, lengths: Lengths, only: set[str]) -> dict:
    """All rounds. Each begins with another system, and every second one goes backwards, so that none is
    always behind the same one."""
    chosen = [system for system in SYSTEMS if not only or system.name in only | {NAIVE}]
    not_run = [f"{system.title}: {why}" for system in chosen if (why := system.missing(tools))]
    chosen = [system for system in chosen if not system.missing(tools)]
    rates = {"low": LOW_RATE, "half": turn.half_of_saturation(tools, lengths)}
    say(f"half of what saturates the naive bridge: {rates['half']:,} calls a second")
    rounds = []
    for number in range(lengths.rounds):
        found = {}
        first = number * 2 % len(chosen)
        order = chosen[first:] + chosen[:first]
        for system in order[::-1] if number % 2 else order:
            begun = time.monotonic()
            found[system.name] = turn.take(system, tools, lengths, rates)
            say(f"round {number + 1} of {lengths.rounds}: {system.title} ({time.monotonic() - begun:.0f} s)")
        rounds.append(found)
    return {"machine": machine.line(tools), "rates": rates, "not_run": not_run, "rounds": rounds}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended then too
    options = command_line.parser(__doc__).parse_args()
    command_line.check_names(options.only, [system.name for system in SYSTEMS])
    lengths = Lengths(options.rounds or ROUNDS, options.seconds, WARMUP_SECONDS, STARTS_IN_EACH_TURN)
    if options.quick:
        lengths = Lengths(rounds=1, seconds=0.3, warmup=0.2, starts=1)
    found = side_by_side(command_line.tools(options), lengths, options.only)
    results = options.results or ROOT / "target/bench/results.json"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(found, indent=1) + "\n")
    rounds = found["rounds"]
    print(tables.page(rounds, goals.goals(rounds), found["rates"], found["machine"], found["not_run"]))
    if options.picture:
        options.picture.write_text(picture.of_ratios(rounds, found["machine"]))


if __name__ == "__main__":
    main()
