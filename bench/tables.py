"""Figures as tables in Markdown."""

from collections.abc import Callable

import summary
from goals import Goal
from summary import Reader, Rounds, Spread
from systems import NAIVE, SYSTEMS
from turn import IN_FLIGHT

NOTHING = "–"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three digits that say something."""
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def with_spread(value: Spread | None, unit: str = "") -> str:
    if value is None:
        return NOTHING
    return f"{number(value.middle)}{unit}{_between(value)}"


def _between(value: Spread) -> str:
    return "" if value.low == value.high else f" ({number(value.low)} to {number(value.high)})"


def cell(rounds: Rounds, system: str, read: Reader) -> str:
    """The figure, and in bold its ratio to the naive bridge with the spread of that."""
    value = summary.absolute(rounds, system, read)
    if value is None:
        return NOTHING
    ratio = summary.compared(rounds, system, read, NAIVE)
    if system == NAIVE or ratio is None:
        return number(value.middle)
    return f"{number(value.middle)}, **{number(ratio.middle)}**{_between(ratio)}"


def _of_systems(rounds: Rounds, columns: list[tuple[str, Callable]]) -> str:
    measured = [system for system in SYSTEMS if any(system.name in each for each in rounds)]
    rows = [[system.title, *(cell(rounds, system.name, read) for _, read in columns)] for system in measured]
    return table(["", *(title for title, _ in columns)], rows)


def _closed(rounds: Rounds, key: str) -> str:
    return _of_systems(rounds, [(f"{count} in flight", summary.closed(count, key)) for count in IN_FLIGHT])


def _open(rounds: Rounds, rate: str) -> str:
    keys = {"p50_us": "p50 µs", "p99_us": "p99 µs", "p999_us": "p99.9 µs", "cpu_us_per_call": "CPU µs per call"}
    return _of_systems(rounds, [(title, summary.opened(rate, key)) for key, title in keys.items()])


def _sizes(rounds: Rounds) -> str:
    columns = [
        ("MiB idle", summary.memory("idle", "now")),
        (f"MiB after {IN_FLIGHT[-1]} in flight", summary.memory("after", "now")),
        ("MiB at most", summary.memory("after", "most")),
        ("ms from start to listening", summary.start_ms),
    ]
    return _of_systems(rounds, columns)


def of_goals(goals: list[Goal]) -> str:
    rows = [
        [
            goal.measure,
            f"{'≥' if goal.more_is_better else '≤'} {goal.bounds[0]:g}{goal.unit}",
            f"{'≥' if goal.more_is_better else '≤'} {goal.bounds[1]:g}{goal.unit}",
            with_spread(goal.measured, goal.unit),
            goal.verdict(),
        ]
        for goal in goals
    ]
    return table(["measure", "goal", "better than needed", "measured", ""], rows)


def page(rounds: Rounds, goals: list[Goal], rates: dict[str, int], machine: str, not_run: list[str]) -> str:
    """All of it."""
    notes = [
        f"- round {number}, {system}: {note}"
        for number, each in enumerate(rounds, 1)
        for system, turn in each.items()
        for note in turn["notes"]
    ]
    parts = [
        f"{machine}\n\nRounds: {len(rounds)}, all systems by turns. Figures are medians; in bold the ratio to the naive"
        " bridge, taken inside each round, with the least and the most of all rounds. The naive bridge is built as"
        " cargo builds a release and runs on tokio's threads; it listens only once it is connected to NATS.",
        *(f"Not run: {line}." for line in not_run),
        "## Calls a second, closed loop",
        _closed(rounds, "calls_per_s"),
        "## CPU µs per call, of the program alone",
        _closed(rounds, "cpu_us_per_call"),
        "## p50 in µs, closed loop",
        _closed(rounds, "p50_us"),
        "## p99 in µs, closed loop",
        _closed(rounds, "p99_us"),
        f"## Open loop, {rates['low']:,} calls a second",
        _open(rounds, "low"),
        f"## Open loop, {rates['half']:,} calls a second: half of what the naive bridge can do",
        _open(rounds, "half"),
        "## Memory and start",
        _sizes(rounds),
        "## Goals",
        of_goals(goals),
        *(["## What is void or odd", "\n".join(notes)] if notes else []),
    ]
    return "\n\n".join(parts)
