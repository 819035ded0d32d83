"""The picture of the ratios to the naive bridge: CPU per call, and calls a second."""

import summary
import svg
from summary import Rounds, Spread
from systems import BARE, NAIVE, SYSTEMS

WIDTH = 900
LABELS = 282
TOP = 76
ROW = 26
BAR = 14

# How much room the figure beside a bar takes.
FIGURE = 52

# Those that promise what a bridge must, first; then what else people write; then what parts cost.
ORDER = ("bridge", "bridge-info", "bridge-jetstream", NAIVE, "node", "aiohttp", "fastapi", BARE, "echo")


def of_ratios(rounds: Rounds, machine: str) -> str:
    systems = {system.name: system.title for system in SYSTEMS}
    names = [name for name in ORDER if any(name in each for each in rounds)]
    bottom = TOP + ROW * len(names)
    panel = (WIDTH - LABELS - 20) / 2
    parts = [svg.text(20, 30, "One call at a bridge, 64 in flight, as ratio to the naive bridge", "title")]
    parts += [
        svg.text(LABELS - 10, _middle(row), systems[name], f"end {'strong' if name == 'bridge' else ''}")
        for row, name in enumerate(names)
    ]
    panels = (
        ("CPU time per call: less is better", summary.closed(64, "cpu_us_per_call")),
        ("calls a second: more is better", summary.closed(64, "calls_per_s")),
    )
    for number, (title, read) in enumerate(panels):
        left = LABELS + number * panel
        spreads = {name: summary.compared(rounds, name, read, NAIVE) for name in names}
        parts += _panel(left, panel - 15, bottom, title, spreads)
    foot = f"Rounds: {len(rounds)}, all systems by turns. Bars are medians, whiskers the least and the most of all rounds. {machine}"
    return svg.picture(WIDTH, bottom + 24, "CPU time per call and calls a second, to the naive bridge", parts, foot)


def _middle(row: int) -> float:
    return TOP + ROW * row + 17


def _panel(left: float, width: float, bottom: float, title: str, spreads: dict[str, Spread | None]) -> list[str]:
    most = max((spread.high for spread in spreads.values() if spread), default=1)
    scale = (width - FIGURE) / max(most, 1)
    parts = [svg.text(left, TOP - 12, title, "quiet"), svg.line(left, TOP - 4, left, bottom, "grid")]
    parts.append(svg.line(left + scale, TOP - 4, left + scale, bottom, "mark"))
    for row, (name, spread) in enumerate(spreads.items()):
        y = TOP + ROW * row + (ROW - BAR) / 2
        if spread is None:
            parts.append(svg.text(left + 6, _middle(row), "–", "quiet"))
            continue
        style = "ours" if name.startswith("bridge") else "base" if name == NAIVE else "other"
        low, high = left + spread.low * scale, left + spread.high * scale
        parts.append(svg.bar(left, y, spread.middle * scale, BAR, style))
        if high > low:
            parts.append(svg.line(low, y + BAR / 2, high, y + BAR / 2, "whisker"))
            parts += [svg.line(x, y + 3, x, y + BAR - 3, "whisker") for x in (low, high)]
        figure = max(high, left + spread.middle * scale) + 6
        parts.append(svg.text(figure, _middle(row), f"{spread.middle:.2f}", "strong" if name == "bridge" else ""))
    return parts
