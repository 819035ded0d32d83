"""How cost grows: as tables, and as curves."""

import summary
import svg
import tables
from questions import QUESTIONS, Question
from summary import Spread

# By round, question and point.
Rounds = list[dict[str, dict[str, dict]]]

PANEL, GAP, HEIGHT, TOP, LEFT = 176, 20, 120, 80, 20
CPU, CALLS, P50, P99 = "cpu_us_per_call", "calls_per_s", "p50_us", "p99_us"


def _read(measured: dict | None, key: str) -> float | None:
    if measured is None or measured["void"] or measured["unfinished"]:
        return None
    return measured[key]["now"] if key in ("idle", "after") else measured[key]


def value(rounds: Rounds, question: str, label: str, key: str) -> Spread | None:
    return summary.spread(_read(each[question].get(label), key) for each in rounds)


def growth(rounds: Rounds, question: Question, label: str) -> Spread | None:
    """CPU per call, to that of the first point in the same round."""
    first = question.points[0].label
    points = [each[question.name] for each in rounds]
    pairs = [(_read(each.get(label), CPU), _read(each.get(first), CPU)) for each in points]
    return summary.spread(a / b if a is not None and b else None for a, b in pairs)


def _table(rounds: Rounds, question: Question) -> str:
    head = [question.axis, "CPU µs per call", "to the first", "calls/s", "p50 µs", "p99 µs", "MiB idle", "MiB after"]
    rows = []
    for point in question.points:
        values = [value(rounds, question.name, point.label, key) for key in (CPU, CALLS, P50, P99, "idle", "after")]
        texts = [tables.number(each.middle) if each else tables.NOTHING for each in values]
        rows.append([point.label, texts[0], tables.with_spread(growth(rounds, question, point.label)), *texts[1:]])
    return tables.table(head, rows)


def _verdict(rounds: Rounds, question: Question) -> str | None:
    """Whether cost grows no more than it may."""
    ratios = [growth(rounds, question, point.label) for point in question.points]
    if question.grows_at_most is None or None in ratios:
        return None
    most = max(abs(ratio.middle - 1) * 100 for ratio in ratios)
    word = "met" if most <= question.grows_at_most else "not met"
    return f"Goal: CPU per call flat within {question.grows_at_most:g} %. It differs by {most:.0f} % at most: {word}."


def _notes(rounds: Rounds) -> list[str]:
    notes = []
    for number, each in enumerate(rounds, 1):
        for name, points in each.items():
            for label, measured in points.items():
                said = list(measured.get("notes", []))
                if measured["void"] or measured["unfinished"]:
                    said.append(f"void: {measured['errors']} errors, {measured['unfinished']} unfinished, {measured['first_error']}")
                notes += [f"- round {number}, {name}, {label}: {one}" for one in said]
    return notes


def page(rounds: Rounds, machine: str) -> str:
    measured = [question for question in QUESTIONS if question.name in rounds[0]]
    parts = [f"{machine}\n\nRounds: {len(rounds)}. Figures are medians; memory and latency are those of one bridge."]
    for question in measured:
        parts += [f"## {question.title}", _table(rounds, question)]
        parts += filter(None, [_verdict(rounds, question)])
    if notes := _notes(rounds):
        parts += ["## What is void or odd", "\n".join(notes)]
    return "\n\n".join(parts)


def picture(rounds: Rounds, machine: str) -> str:
    """Two rows of panels: CPU time and memory. Points stand at equal distances; their labels say what they are."""
    curves = [question for question in QUESTIONS if question.name in rounds[0] and len(question.points) > 3]
    width = LEFT * 2 + len(curves) * (PANEL + GAP) - GAP
    parts = [svg.text(LEFT, 30, "What a call costs as the work grows", "title")]
    for column, question in enumerate(curves):
        left = LEFT + column * (PANEL + GAP)
        parts.append(svg.text(left, 56, question.title, "strong"))
        for row, (title, key) in enumerate((("CPU µs per call", CPU), ("MiB resident", "after"))):
            top = TOP + row * (HEIGHT + 64)
            points = [(point.label, value(rounds, question.name, point.label, key)) for point in question.points]
            parts += _panel(left, top, title, points)
    foot = f"64 in flight, medians with the least and the most; rounds: {len(rounds)}. {machine}"
    return svg.picture(width, TOP + 2 * (HEIGHT + 64), "What a call costs as the work grows", parts, foot)


def _panel(left: float, top: float, title: str, points: list[tuple[str, Spread | None]]) -> list[str]:
    bottom = top + HEIGHT
    most = max((spread.high for _, spread in points if spread), default=1) * 1.15
    step = (PANEL - 40) / max(len(points) - 1, 1)
    parts = [svg.text(left, top - 4, title, "quiet"), svg.line(left, bottom, left + PANEL, bottom, "grid")]
    known = [(left + 20 + number * step, bottom - each.middle / most * HEIGHT) for number, (_, each) in enumerate(points) if each]
    parts.append(svg.curve(known))
    for number, (label, spread) in enumerate(points):
        x = left + 20 + number * step
        parts.append(svg.text(x, bottom + 16, _short(label), "quiet middle"))
        if spread is None:
            continue
        low, middle, high = (bottom - each / most * HEIGHT for each in (spread.low, spread.middle, spread.high))
        parts += [svg.line(x, low, x, high, "whisker"), svg.dot(x, middle)]
        parts.append(svg.text(x, high - 8, tables.number(spread.middle), "quiet middle"))
    return parts


def _short(label: str) -> str:
    """1,000,000 as 1M, to fit below a panel."""
    return label.replace(",000,000", "M").replace(",000", "k")
