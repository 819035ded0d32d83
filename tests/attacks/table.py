#!/usr/bin/env python3
"""Prints what `make test-attacks` has measured as a table.

    tests/attacks/table.py REPORT [REPORT]

A report is a file of `ATTACKS_REPORT`. With two, the first is before and the second after. Of a
scenario that stands in a report more than once, the last run counts.
"""

import json
import sys


def read(path):
    """The figures of each scenario, by its name and number of descriptors, as they came."""
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {(row["attack"], row["descriptors"]): row for row in rows}


def answered(group):
    return f"{group['right']:,} of {group['sent']:,}"


def milliseconds(figure):
    return f"{figure:,.0f} ms" if figure >= 10 else f"{figure:.1f} ms"


def livez(group):
    """The slowest answer, and probes without one."""
    without = sum(group["wrong"].values())
    slowest = milliseconds(group["max_ms"]) if group["sent"] > without else "–"
    return f"{slowest}, {without} without" if without else slowest


def figures(row):
    """The cells of one scenario."""
    groups = row["groups"]
    kept, fresh, probe = (groups[who] for who in ("kept", "fresh", "probe"))
    quiet, attacked = kept["quiet"]["p99_ms"], kept["attacked"]["p99_ms"]
    used = row["used_bytes"] or row["resident_bytes"]
    return [
        answered(kept["attacked"]),
        f"{kept['attacked']['fallbacks']}, {kept['attacked']['late']}",
        answered(fresh["attacked"]),
        f"{milliseconds(quiet)}, {milliseconds(attacked)}, {attacked / quiet if quiet else 0:.1f}×",
        livez(probe["attacked"]),
        f"{used / 2**20:.0f} MiB",
        row["life"],
    ]


HEAD = [
    "attack",
    "descriptors",
    "run",
    "answered by the worker in time",
    "fallbacks, late",
    "the same on new connections",
    "p99 quiet, attacked, ratio",
    "slowest /livez",
    "memory at most",
    "process",
]


def main(paths):
    if len(paths) not in (1, 2):
        sys.exit(__doc__)
    reports = [read(path) for path in paths]
    names = ["before", "after"] if len(paths) == 2 else [""]
    keys = dict.fromkeys(key for report in reports for key in report)
    rows = []
    for key in keys:
        for name, report in zip(names, reports):
            if key in report:
                rows.append([key[0], f"{key[1]:,}", name, *figures(report[key])])
    columns = [at for at in range(len(HEAD)) if at != 2 or len(paths) == 2]
    for row in [HEAD, ["---"] * len(HEAD), *rows]:
        print("| " + " | ".join(row[at] for at in columns) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
