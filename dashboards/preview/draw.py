#!/usr/bin/env python3
"""Draws a dashboard from its JSON and a Prometheus, without Grafana, to look at it: HTML, and PNG
by a headless Chromium. Knows only what the dashboards here use, and fails on anything else."""

import argparse
import html
import json
import math
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

COLORS = {
    "green": "#73bf69", "light-green": "#96d98d", "dark-green": "#37872d", "yellow": "#f2cc0c", "red": "#f2495c",
    "light-red": "#ff7383", "dark-red": "#c4162a", "blue": "#5794f2", "light-blue": "#8ab8ff", "orange": "#ff9830",
    "light-orange": "#ffb357", "dark-orange": "#fa6400", "purple": "#b877d9", "transparent": "none",
}  # fmt: skip
CLASSIC = "#7eb26d #eab839 #6ed0e0 #ef843c #e24d42 #1f78c1 #ba43a9 #705da0 #508642 #cca300".split()
THEMES = {
    "dark": {"page": "#111217", "panel": "#181b1f", "edge": "#2c2f35", "text": "#ccccdc", "dim": "#8e9098"},
    "light": {"page": "#f4f5f5", "panel": "#ffffff", "edge": "#e2e3e6", "text": "#24292e", "dim": "#6f7379"},
}
UNIT, GAP = 38, 8  # the height of a step in Grafana's grid, the space between panels in it


class Prometheus:
    def __init__(self, url, end, seconds, scrape):
        self.url, self.end, self.seconds, self.scrape = url, end, seconds, scrape

    def get(self, path, **arguments):
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
            ) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{arguments['query']}: {json.load(error)['error']}") from error

    def instant(self, expr):
        return [
            (one["metric"], float(one["value"][1])) for one in self.get("query", query=expr, time=self.end)
        ]

    def over_time(self, expr, step):
        start = math.floor((self.end - self.seconds) / step) * step
        grid = [start + step * at for at in range(int((self.end - start) / step) + 1)]
        series = []
        for one in self.get("query_range", query=expr, start=start, end=grid[-1], step=step):
            known = {round(float(at), 3): float(value) for at, value in one["values"]}
            series.append((one["metric"], [known.get(round(at, 3), math.nan) for at in grid]))
        return grid, series


def duration(text):
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def steps_of(seconds, width, least):
    """The step of a query, as Grafana picks it: one point per pixel, a round number, a least."""
    rounds = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]
    return max(next(one for one in rounds if one >= min(seconds / width, 86400)), least)


def substituted(text, dashboard, step, prom):
    values = {
        "__rate_interval": f"{max(step + prom.scrape, 4 * prom.scrape):.0f}s",
        "__interval": f"{step:.0f}s",
        "__range": f"{prom.seconds:.0f}s",
    }
    for variable in dashboard["templating"]["list"]:
        values[variable["name"]] = variable.get("allValue", "")
    text = re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], text)
    return text


# ---- Values and how they look ----


def plain(value, decimals):
    """A number in few digits."""
    if decimals is None:
        size = abs(value)
        decimals = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 0.1 else 3
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text and decimals > 2 else text


def scaled(value, sizes, decimals):
    for size, unit in sizes:
        if abs(value) >= size:
            return f"{plain(value / size, decimals)}{unit}"
    size, unit = sizes[-1]
    return f"{plain(value / size, decimals)}{unit}"


def formatted(value, unit, decimals=None):
    if unit == "percentunit":
        return f"{plain(value * 100, decimals if decimals is not None else (0 if value in (0, 1) else 1))}%"
    if unit == "s":
        sizes = [(86400, " days"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs")]
        return "0 s" if value == 0 else scaled(value, sizes, decimals if value >= 1 else None)
    if unit == "dtdurations":
        return scaled(
            value, [(86400 * 365, " years"), (86400, " days"), (3600, " hours"), (60, " min"), (1, " s")], 0
        )
    if unit == "bytes":
        return scaled(value, [(2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")], decimals)
    suffix = {"reqps": " req/s", "cps": " c/s", "ops": " ops/s"}
    if unit in suffix:
        return plain(value, decimals) + suffix[unit]
    if unit in ("short", "none", "locale"):
        return plain(value, decimals)
    raise ValueError(f"the unit {unit} is not known here")


def color_of(name):
    return name if name.startswith("#") else COLORS[name]


def field(panel, name):
    """The settings of one series or column: the defaults, and what overrides them."""
    config = panel["fieldConfig"]
    made = {**config["defaults"], "name": name}
    for override in config["overrides"]:
        kind, wanted = override["matcher"]["id"], override["matcher"]["options"]
        if name == wanted if kind == "byName" else re.search(wanted.strip("/"), name):
            for one in override["properties"]:
                made["name" if one["id"] == "displayName" else one["id"]] = one["value"]
    return made


def shown(value, config):
    """Text and color of a value."""
    if value is None or math.isnan(value):
        return config.get("noValue", "–"), None
    for mapping in config["mappings"]:
        if mapping["type"] == "value" and plain(value, None) in mapping["options"]:
            found = mapping["options"][plain(value, None)]
            return found["text"], color_of(found["color"])
        if mapping["type"] == "range" and mapping["options"]["from"] <= value <= mapping["options"]["to"]:
            found = mapping["options"]["result"]
            return found["text"], color_of(found["color"])
    color = None
    for step in config["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = color_of(step["color"])
    return formatted(value, config["unit"], config.get("decimals")), color


def on_top(color):
    """Black or white, whichever can be read on it."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return "#111217" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "#ffffff"


def legend_of(target, labels):
    named = target["legendFormat"]
    if not named:
        return "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), named)


def svg(width, height, body):
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(body)}</svg>'


def label(x, y, text, anchor="start", size=11, color="var(--dim)", weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}" '
        f'font-weight="{weight}">{html.escape(text)}</text>'
    )


def empty(panel, height):
    return f'<div class="empty" style="height:{height}px">{html.escape(panel["fieldConfig"]["defaults"].get("noValue", "No data"))}</div>'


def ticks(least, most, count, smallest=0):
    """Round numbers between the two."""
    raw = max((most - least) / max(count, 1), smallest) or 1
    size = 10 ** math.floor(math.log10(raw))
    size *= next(one for one in (1, 2, 2.5, 5, 10) if one * size >= raw)
    first = math.ceil(least / size) * size
    return [first + size * at for at in range(int((most - first) / size + 1e-9) + 1)]


def time_axis(grid, left, right, y, top):
    seconds = grid[-1] - grid[0]
    sizes = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]
    size = next(one for one in sizes if seconds / one <= (right - left) / 75)
    body, at = [], math.ceil(grid[0] / size) * size
    while at <= grid[-1]:
        x = left + (at - grid[0]) / seconds * (right - left)
        form = "%H:%M:%S" if size < 60 else "%H:%M" if size < 86400 else "%d.%m."
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}" stroke="var(--edge)"/>')
        if left < x < right - 16:
            body.append(label(x, y + 14, time.strftime(form, time.gmtime(at)), "middle"))
        at += size
    return body


def legend_rows(entries, width):
    """(rows, each a list of (x, name, color))"""
    rows, x = [[]], 0
    for name, color in entries:
        wide = 6.2 * len(name) + 34
        if x + wide > width and rows[-1]:
            rows.append([])
            x = 0
        rows[-1].append((x, name, color))
        x += wide
    return rows


def queried(panel, dashboard, prom, width):
    """(grid, [(name, labels, values)]) for a panel that shows time."""
    least = max(duration(panel.get("interval", "0s")), prom.scrape)
    step = steps_of(prom.seconds, width / 2, least)
    grid, found = [], []
    for target in panel["targets"]:
        grid, series = prom.over_time(substituted(target["expr"], dashboard, step, prom), step)
        found += [(legend_of(target, labels), labels, values) for labels, values in series]
    return grid, found


def now(target, panel, dashboard, prom, width):
    least = max(duration(panel.get("interval", "0s")), prom.scrape)
    return prom.instant(
        substituted(target["expr"], dashboard, steps_of(prom.seconds, width / 2, least), prom)
    )


# ---- One function per kind of panel: (panel, width, height, dashboard, prom) to HTML ----


def stat(panel, width, height, dashboard, prom):
    target = panel["targets"][0]
    found = now(target, panel, dashboard, prom, width)
    config = field(panel, legend_of(target, found[0][0]) if found else "")
    text, color = shown(found[0][1] if found else None, config)
    color = color or "#5a5d63"
    named = panel["options"]["textMode"] == "value_and_name"
    room = width * 0.38 if named else width - 20
    size = min(height * 0.5, room / (0.6 * max(len(text), 1)), 54)
    name = ""
    if named:
        small = min(30, width * 0.58 / (0.53 * len(config["name"])))
        name = f'<span style="font-size:{small:.0f}px">{html.escape(config["name"])}</span>'
    place = "space-between" if named else "center"
    style = f"height:{height}px;background:{color};color:{on_top(color)};font-size:{size:.0f}px;justify-content:{place}"
    return f'<div class="stat" style="{style}">{name}<span>{html.escape(text)}</span></div>'


def timeseries(panel, width, height, dashboard, prom):
    grid, found = queried(panel, dashboard, prom, width)
    if not found:
        return empty(panel, height)
    custom = panel["fieldConfig"]["defaults"]["custom"]
    mode = custom["stacking"]["mode"]
    series = []
    for name, _, values in found:
        config = field(panel, name)
        fixed = config["color"].get("fixedColor")
        color = color_of(fixed) if fixed else CLASSIC[len(series) % len(CLASSIC)]
        series.append((config["name"], color, values, config))
    config = panel["fieldConfig"]["defaults"]
    rows = legend_rows([(name, color) for name, color, _, _ in series], width - 20)[:4]
    bottom = height - 24 - 18 * len(rows)
    base, lines = [0.0] * len(grid), []
    for _, color, values, own in series:
        if mode == "normal":
            tops = [low + (0 if math.isnan(value) else value) for low, value in zip(base, values)]
            lines.append((color, base, tops, own, values))
            base = tops
        else:
            lines.append((color, None, values, own, values))
    highest = max((value for _, _, tops, _, _ in lines for value in tops if not math.isnan(value)), default=0)
    limits = config["thresholds"]["steps"][1:] if custom["thresholdsStyle"]["mode"] != "off" else []
    most = config.get("max", max([highest * 1.05] + [one["value"] * 1.05 for one in limits]) or 1)
    least = config.get("min", 0)
    least = min([least] + [value for _, _, tops, _, _ in lines for value in tops if not math.isnan(value)])
    marks = ticks(least, most, max(2, (bottom - 10) // 32), config.get("decimals") == 0)
    texts = [formatted(mark, config["unit"], config.get("decimals")) for mark in marks]
    left, right, top = 12 + 6.2 * max(len(text) for text in texts), width - 12, 8

    def x_at(at):
        return left + (grid[at] - grid[0]) / (grid[-1] - grid[0]) * (right - left)

    def y_of(value):
        return bottom - (min(value, most) - least) / (most - least or 1) * (bottom - top)

    body = time_axis(grid, left, right, bottom, top)
    for mark, text in zip(marks, texts):
        y = y_of(mark)
        body.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--edge)"/>')
        body.append(label(left - 6, y + 4, text, "end"))
    for color, low, tops, own, values in lines:
        if custom["drawStyle"] == "bars":
            wide = (right - left) / len(grid) * 0.8
            for at, value in enumerate(values):
                if value > 0:
                    y, under = y_of(tops[at]), y_of(low[at])
                    body.append(
                        f'<rect x="{x_at(at) - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{under - y:.1f}" fill="{color}"/>'
                    )
            continue
        runs, run = [], []
        for at, value in enumerate(values):
            if math.isnan(value):
                runs, run = [*runs, run] if run else runs, []
            else:
                run.append(at)
        runs = [*runs, run] if run else runs
        dash = 'stroke-dasharray="6 6"' if own.get("custom.lineStyle") else ""
        for run in runs:
            path = " ".join(f"{x_at(at):.1f},{y_of(tops[at]):.1f}" for at in run)
            if custom["fillOpacity"]:
                under = [(x_at(at), y_of(low[at] if low else least)) for at in reversed(run)]
                area = path + " " + " ".join(f"{x:.1f},{y:.1f}" for x, y in under)
                body.append(
                    f'<polygon points="{area}" fill="{color}" opacity="{custom["fillOpacity"] / 100}"/>'
                )
            if len(run) == 1:
                body.append(
                    f'<circle cx="{x_at(run[0]):.1f}" cy="{y_of(tops[run[0]]):.1f}" r="2" fill="{color}"/>'
                )
            wide = custom["lineWidth"]
            body.append(
                f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{wide}" {dash}/>'
            )
    for one in limits:
        y = y_of(one["value"])
        body.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{color_of(one["color"])}" stroke-dasharray="8 6"/>'
        )
    for started in starts(dashboard, prom):
        if grid[0] < started < grid[-1]:
            x = left + (started - grid[0]) / (grid[-1] - grid[0]) * (right - left)
            body.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#5794f2" stroke-dasharray="3 3"/>'
            )
            body.append(f'<path d="M{x - 4:.1f} {bottom + 5} h8 l-4 -5z" fill="#5794f2"/>')
    for at, row in enumerate(rows):
        y = bottom + 34 + 18 * at
        for x, name, color in row:
            body.append(f'<rect x="{x + 12:.1f}" y="{y - 6}" width="14" height="4" rx="2" fill="{color}"/>')
            body.append(label(x + 31, y, name, color="var(--text)"))
    return svg(width, height, body)


def starts(dashboard, prom):
    found = []
    for one in dashboard["annotations"]["list"]:
        found += [
            value / 1000 for _, value in prom.instant(substituted(one["expr"], dashboard, prom.scrape, prom))
        ]
    return found


def state_timeline(panel, width, height, dashboard, prom):
    grid, found = queried(panel, dashboard, prom, width)
    if not found:
        return empty(panel, height)
    left, right, top, bottom = 14 + 6.4 * max(len(name) for name, _, _ in found), width - 12, 4, height - 22
    tall = (bottom - top) / len(found)
    body = time_axis(grid, left, right, bottom, top)
    for at, (name, _, values) in enumerate(found):
        config, y = field(panel, name), top + tall * at
        body.append(label(left - 8, y + tall / 2 + 4, config["name"], "end", color="var(--text)"))
        start = 0
        for end in range(1, len(values) + 1):
            if end < len(values) and (
                values[end] == values[start] or all(map(math.isnan, (values[end], values[start])))
            ):
                continue
            if not math.isnan(values[start]):
                text, color = shown(values[start], config)
                scale = (right - left) / (grid[-1] - grid[0])
                x = left + (grid[start] - grid[0]) * scale
                wide = (grid[min(end, len(grid) - 1)] - grid[start]) * scale
                body.append(
                    f'<rect x="{x:.1f}" y="{y + tall * 0.07:.1f}" width="{max(wide, 1):.1f}" height="{tall * 0.86:.1f}" fill="{color}"/>'
                )
                if wide > 6.6 * len(text) + 8:
                    body.append(label(x + 6, y + tall / 2 + 4, text, color=on_top(color)))
            start = end
    return svg(width, height, body)


def bargauge(panel, width, height, dashboard, prom):
    body, count = [], len(panel["targets"])
    tall, left = (height - 12) / count, 24 + 6.6 * max(len(one["legendFormat"]) for one in panel["targets"])
    for at, target in enumerate(panel["targets"]):
        config = field(panel, target["legendFormat"])
        found = now(target, panel, dashboard, prom, width)
        text, color = shown(found[0][1] if found else None, config)
        color = color_of(config["color"]["fixedColor"]) if "fixedColor" in config["color"] else color
        part = (found[0][1] if found else 0) / config["max"]
        y, right = 6 + tall * at, width - 80
        body.append(label(left - 10, y + tall / 2 + 4, target["legendFormat"], "end", 12, "var(--text)"))
        body.append(
            f'<rect x="{left}" y="{y + 4:.1f}" width="{right - left}" height="{tall - 8:.1f}" fill="var(--edge)"/>'
        )
        body.append(
            f'<rect x="{left}" y="{y + 4:.1f}" width="{(right - left) * part:.1f}" height="{tall - 8:.1f}" fill="{color}"/>'
        )
        body.append(label(right + 10, y + tall / 2 + 6, text, size=16, color=color, weight="500"))
    return svg(width, height, body)


def heatmap(panel, width, height, dashboard, prom):
    grid, found = queried(panel, dashboard, prom, width / 4)
    buckets = sorted(((float(labels["le"]), values) for _, labels, values in found), key=lambda one: one[0])
    counts = [
        (
            bound,
            [max(0, new - old) for new, old in zip(values, buckets[at - 1][1] if at else [0] * len(grid))],
        )
        for at, (bound, values) in enumerate(buckets)
    ]
    most = max((value for _, values in counts for value in values if not math.isnan(value)), default=0)
    if not most:
        return empty(panel, height)
    left, right, top, bottom = 64, width - 12, 6, height - 24
    tall, wide = (bottom - top) / len(counts), (right - left) / len(grid)
    body = time_axis(grid, left, right, bottom, top)
    for at, (bound, values) in enumerate(counts):
        y = bottom - tall * (at + 1)
        if at % 2:
            text = "more" if math.isinf(bound) else formatted(bound, "s")
            body.append(label(left - 6, y + 4, text, "end"))
        for when, value in enumerate(values):
            if value > 0:
                opacity = 0.15 + 0.85 * (value / most) ** 0.5
                body.append(
                    f'<rect x="{left + wide * when:.1f}" y="{y + 0.5:.1f}" width="{max(wide - 1, 1):.1f}" height="{tall - 1:.1f}" fill="#5794f2" opacity="{opacity:.2f}"/>'
                )
    return svg(width, height, body)


def table(panel, width, height, dashboard, prom):
    lines, single = {}, len(panel["targets"]) == 1
    for target in panel["targets"]:
        for labels, value in now(target, panel, dashboard, prom, width):
            line = lines.setdefault(tuple(sorted(labels.items())), dict(labels))
            line["Value" if single else f"Value #{target['refId']}"] = value
    if not lines:
        return empty(panel, height)
    organize = panel["transformations"][1]["options"]
    columns = sorted(organize["indexByName"], key=organize["indexByName"].get)
    names = [organize["renameByName"].get(column, column) for column in columns]
    made = ["<table><tr>", *(f"<th>{html.escape(name)}</th>" for name in names), "</tr>"]
    for line in lines.values():
        made.append("<tr>")
        for column, name in zip(columns, names):
            config, value = field(panel, name), line.get(column)
            if isinstance(value, str):
                made.append(f"<td>{html.escape(value)}</td>")
                continue
            text, color = shown(value, config)
            filled = config.get("custom.cellOptions", {}).get("type") == "color-background" and color not in (
                None,
                "none",
            )
            style = f"background:{color};color:{on_top(color)}" if filled else ""
            made.append(f'<td style="{style}">{html.escape(text)}</td>')
        made.append("</tr>")
    return "".join(made) + "</table>"


def text(panel, width, height, dashboard, prom):
    def inline(words):
        words = html.escape(words)
        for pattern, tag in ((r"\*\*(.+?)\*\*", "b"), (r"\*(.+?)\*", "i"), (r"`(.+?)`", "code")):
            words = re.sub(pattern, rf"<{tag}>\1</{tag}>", words)
        return words

    made, is_table = [], False
    for line in panel["options"]["content"].splitlines():
        if line.startswith("| ---"):
            continue
        if line.startswith("|"):
            cells = "".join(f"<td>{inline(cell.strip())}</td>" for cell in line.strip("|").split("|"))
            made.append(("" if is_table else "<table>") + f"<tr>{cells}</tr>")
            is_table = True
        else:
            made.append(("</table>" if is_table else "") + f"<p>{inline(line)}</p>")
            is_table = False
    return f'<div class="text">{"".join(made)}</div>'


KINDS = {
    "stat": stat, "timeseries": timeseries, "state-timeline": state_timeline, "bargauge": bargauge,
    "heatmap": heatmap, "table": table, "text": text,
}  # fmt: skip

STYLE = """
* { box-sizing: border-box } body { margin: 0; background: var(--page); color: var(--text);
font: 13px Inter, Roboto, "DejaVu Sans", sans-serif } .panel { position: absolute; background: var(--panel);
border: 1px solid var(--edge); border-radius: 2px; overflow: hidden } .title { height: 28px; padding: 6px 10px;
font-weight: 500; white-space: nowrap; overflow: hidden; text-overflow: ellipsis } .row { position: absolute;
font-size: 16px; font-weight: 500; padding: 8px } .row small { color: var(--dim); font-size: 12px }
.stat, .empty { display: flex; align-items: center; justify-content: center; text-align: center; font-weight: 500;
line-height: 1.1; padding: 0 14px; white-space: nowrap } .empty { color: var(--dim); font-size: 15px; font-weight: normal }
.stat.bare { background: none } table { width: 100%; border-collapse: collapse } td, th { text-align: left;
padding: 6px 10px; border: 1px solid var(--edge); font-weight: normal } th { color: #6e9fff; font-weight: 500 }
.text { padding: 4px 10px } code { background: var(--edge); padding: 0 4px } .head { padding: 12px 16px 4px;
height: 76px } .head h1 { font-size: 18px; font-weight: 500; margin: 0 0 8px } .head b { float: right;
font-weight: 500; color: #111217; background: #ff9830; padding: 3px 10px; border-radius: 2px } .pick { display: inline-block;
border: 1px solid var(--edge); background: var(--panel); padding: 3px 8px; margin-right: 8px; font-size: 12px }
.pick i { color: #6e9fff; font-style: normal; margin-right: 6px } svg { display: block }
"""


def page(dashboard, prom, width, theme, rows, expand):
    """The HTML, and how tall it is."""
    column = (width - 2 * GAP) / 24
    span = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(prom.end - prom.seconds))} to {time.strftime('%H:%M:%S', time.gmtime(prom.end))} UTC"
    picks = "".join(
        f'<span class="pick"><i>{html.escape(one["label"])}</i>{"Prometheus" if one["type"] == "datasource" else "All"}</span>'
        for one in dashboard["templating"]["list"]
    )
    made = [
        f'<div class="head"><b>Preview, drawn without Grafana</b><h1>{html.escape(dashboard["title"])}</h1>{picks}'
        f'<span class="pick"><i>Time</i>{span}</span></div>'
    ]
    shift, lowest, seen = 0, 0, 0

    def put(one):
        nonlocal lowest
        place = one["gridPos"]
        x, y = GAP + place["x"] * column, 84 + (place["y"] + shift) * UNIT
        wide, tall = place["w"] * column - GAP, place["h"] * UNIT - GAP
        lowest = max(lowest, y + tall)
        at = f"left:{x:.0f}px;top:{y:.0f}px;width:{wide:.0f}px;height:{tall:.0f}px"
        if one["type"] == "row":
            closed = one["collapsed"] and not expand
            note = f" <small>({len(one['panels'])} panels)</small>" if closed else ""
            made.append(
                f'<div class="row" style="{at}">{"›" if closed else "⌄"} {html.escape(one["title"])}{note}</div>'
            )
            return
        drawn = KINDS[one["type"]](one, int(wide) - 2, int(tall) - 30, dashboard, prom)
        made.append(
            f'<div class="panel" style="{at}"><div class="title">{html.escape(one["title"])}</div>{drawn}</div>'
        )

    for one in dashboard["panels"]:
        if one["type"] == "row":
            seen += 1
            if rows and seen > rows:
                break
        put(one)
        if one["type"] == "row" and one["collapsed"] and expand:
            for inner in one["panels"]:
                put(inner)
            shift += (
                max(inner["gridPos"]["y"] + inner["gridPos"]["h"] for inner in one["panels"])
                - one["gridPos"]["y"]
                - 1
            )
    variables = ";".join(f"--{name}:{value}" for name, value in THEMES[theme].items())
    content = f'<!doctype html><meta charset="utf-8"><style>:root{{{variables}}}{STYLE}</style>' + "".join(
        made
    )
    return content, int(lowest + 12)


def draw(
    dashboard, out, url, end=None, seconds=900, scrape=1, width=1600, theme="dark", rows=0, expand=False
):
    """Writes `out`.html and `out`.png."""
    prom = Prometheus(url, end or time.time(), seconds, scrape)
    content, height = page(json.loads(Path(dashboard).read_text()), prom, width, theme, rows, expand)
    Path(f"{out}.html").write_text(content)
    subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={out}.png",
         f"--window-size={width},{height}", f"file://{Path(out).absolute()}.html"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def main():
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("dashboard")
    ask.add_argument("--prometheus", default="http://127.0.0.1:9090")
    ask.add_argument("--out", required=True, help="path without its ending")
    ask.add_argument("--last", default="1h", help="the time range, up to now")
    ask.add_argument("--scrape", type=float, default=15, help="how often Prometheus scrapes, in seconds")
    ask.add_argument("--width", type=int, default=1600)
    ask.add_argument("--theme", choices=THEMES, default="dark")
    ask.add_argument("--rows", type=int, default=0, help="only so many rows")
    ask.add_argument("--expand", action="store_true", help="open all rows")
    told = ask.parse_args()
    draw(told.dashboard, told.out, told.prometheus, None, duration(told.last), told.scrape, told.width, told.theme,
         told.rows, told.expand)  # fmt: skip


if __name__ == "__main__":
    main()
