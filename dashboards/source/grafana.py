"""Panels, rows and dashboards as Grafana's JSON. Knows nothing of connector-bridge."""

import json

DATASOURCE = {"type": "prometheus", "uid": "$datasource"}
RATE = "$__rate_interval"


def target(expr, legend="", instant=False, form="time_series"):
    return {
        "datasource": DATASOURCE,
        "expr": " ".join(expr.split()),
        "legendFormat": legend,
        "instant": instant,
        "range": not instant,
        "format": form,
        "editorMode": "code",
    }


def words(table):
    """Value mappings: {value or (from, to): (text, color)}."""
    mappings = []
    for index, (value, (text, color)) in enumerate(table.items()):
        result = {"text": text, "color": color, "index": index}
        if isinstance(value, tuple):
            options = {"from": value[0], "to": value[1], "result": result}
            mappings.append({"type": "range", "options": options})
        else:
            mappings.append({"type": "value", "options": {str(value): result}})
    return mappings


def steps(*colors):
    """Thresholds: the first color, then (from, color)."""
    first, *rest = colors
    return {
        "mode": "absolute",
        "steps": [{"color": first, "value": None}]
        + [{"color": color, "value": value} for value, color in rest],
    }


def look(name, text=None, color=None, **more):
    """How the series, or the column, of this name looks."""
    properties = [{"id": "displayName", "value": text}] if text else []
    if color:
        properties.append({"id": "color", "value": {"mode": "fixed", "fixedColor": color}})
    properties += [{"id": key.replace("__", "."), "value": value} for key, value in more.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def looks(table):
    """The same for many: {name: (text, color)}."""
    return [look(name, text, color) for name, (text, color) in table.items()]


def panel(kind, size, title, about, targets, unit, options, custom=None, looks=(), **defaults):
    """Any panel. `size` is (width, height); a row places it. `about` says what it means and what
    to do. `defaults` are thresholds, mappings, noValue, min, max, decimals."""
    width, height = size
    interval = defaults.pop("interval", None)
    transformations = defaults.pop("transformations", None)
    made = {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": [{**one, "refId": chr(65 + at)} for at, one in enumerate(targets)],
        "options": options,
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "color": defaults.pop("color", {"mode": "palette-classic"}),
                "custom": custom or {},
                "mappings": [],
                "thresholds": steps("green"),
                **defaults,
            },
            "overrides": list(looks),
        },
    }
    if interval:
        made["interval"] = interval
    if transformations:
        made["transformations"] = transformations
    return made


def last(**more):
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, **more}


def stat(size, title, about, expr, unit="none", legend=None, mode="value", **defaults):
    options = last(
        colorMode="background",
        graphMode="none",
        justifyMode="center",
        orientation="auto",
        textMode=mode,
        wideLayout=True,
    )
    one = target(expr, legend or title, instant=True)
    defaults.setdefault("color", {"mode": "thresholds"})
    return panel("stat", size, title, about, [one], unit, options, **defaults)


def bars(size, title, about, targets, unit, **defaults):
    """One horizontal bar per target."""
    options = last(
        displayMode="basic",
        orientation="horizontal",
        showUnfilled=True,
        valueMode="text",
        namePlacement="left",
        minVizHeight=16,
        minVizWidth=8,
        sizing="auto",
    )
    return panel("bargauge", size, title, about, targets, unit, options, **defaults)


def graph(size, title, about, targets, unit, shape="lines", limit=None, **defaults):
    """Over time: "lines", "areas" on top of each other, or "bars" on top of each other, for what
    happens now and then. `limit` draws thresholds as lines."""
    custom = {
        "drawStyle": "bars" if shape == "bars" else "line",
        "lineInterpolation": "linear",
        "lineWidth": {"lines": 2, "areas": 1, "bars": 0}[shape],
        "fillOpacity": {"lines": 0, "areas": 70, "bars": 85}[shape],
        "stacking": {"mode": "none" if shape == "lines" else "normal", "group": "A"},
        "showPoints": "auto" if shape == "lines" else "never",
        "pointSize": 4,
        "spanNulls": False,
        "axisPlacement": "auto",
        "thresholdsStyle": {"mode": "dashed" if limit else "off"},
    }
    if limit:
        defaults["thresholds"] = limit
    options = {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults.setdefault("min", 0)
    return panel("timeseries", size, title, about, targets, unit, options, custom, **defaults)


def states(size, title, about, targets, mappings, **defaults):
    """One line per target, colored by its state over time."""
    custom = {"fillOpacity": 85, "lineWidth": 0}
    options = {
        "showValue": "auto",
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.86,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults.setdefault("color", {"mode": "thresholds"})
    return panel(
        "state-timeline", size, title, about, targets, "none", options, custom, mappings=mappings, **defaults
    )


def heatmap(size, title, about, expr, unit, **defaults):
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Blues",
            "steps": 64,
            "exponent": 0.5,
            "reverse": False,
            "fill": "blue",
        },
        "yAxis": {"axisPlacement": "left", "unit": unit},
        "cellValues": {"unit": "reqps"},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
    }
    one = target(expr, "{{le}}", form="heatmap")
    return panel("heatmap", size, title, about, [one], unit, options, **defaults)


def table(size, title, about, columns, unit="none", keys=(), looks=(), **defaults):
    """One line per label set. `columns` are (name, expression, properties); `keys` are labels to
    show, as (label, name)."""
    ids = [f"Value #{chr(65 + at)}" for at in range(len(columns))]
    if len(columns) == 1:
        ids = ["Value"]
    order = [label for label, _ in keys] + ids
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: at for at, name in enumerate(order)},
        "renameByName": dict(keys) | {at: name for at, (name, _, _) in zip(ids, columns)},
    }
    return panel(
        "table",
        size,
        title,
        about,
        [target(expr, name, instant=True, form="table") for name, expr, _ in columns],
        unit,
        {"showHeader": True, "cellHeight": "sm"},
        {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False},
        looks=[look(name, **properties) for name, _, properties in columns if properties] + list(looks),
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
        color={"mode": "thresholds"},
        **defaults,
    )


def text(size, title, about, markdown):
    made = panel("text", size, title, about, [], "none", {"mode": "markdown", "content": markdown.strip()})
    return made


def row(title, *panels, collapsed=False):
    return {"title": title, "panels": list(panels), "collapsed": collapsed}


def variable(name, query, all_value):
    return {
        "name": name,
        "label": name.title(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": query,
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": all_value,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "hide": 0,
    }


def dashboard(uid, title, about, rows, variables, annotations, tag, since, refresh):
    """Places each panel as high, then as far left, as it fits in its row, and gives it an id."""
    placed, y, number = [], 0, 0
    for one in rows:
        number += 1
        head = {
            "id": number,
            "type": "row",
            "title": one["title"],
            "collapsed": one["collapsed"],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": [],
        }
        placed.append(head)
        filled = [y + 1] * 24  # how far down each column is filled
        for made in one["panels"]:
            number += 1
            place = made["gridPos"]
            spots = range(25 - place["w"])
            y, x = min((max(filled[at : at + place["w"]]), at) for at in spots)
            filled[x : x + place["w"]] = [y + place["h"]] * place["w"]
            made = {"id": number, **made, "gridPos": {"x": x, "y": y, **place}}
            (head["panels"] if one["collapsed"] else placed).append(made)
        y = head["gridPos"]["y"] + 1 if one["collapsed"] else max(filled)
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": [tag],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "links": [
            {
                "type": "dashboards",
                "title": "connector-bridge",
                "tooltip": "The other dashboard, with the same time and filters",
                "tags": [tag],
                "asDropdown": False,
                "icon": "dashboard",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "url": "",
            }
        ],
        "annotations": {"list": annotations},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                    "regex": "",
                    "refresh": 1,
                    "multi": False,
                    "includeAll": False,
                    "current": {"selected": True, "text": "default", "value": "default"},
                    "options": [],
                    "hide": 0,
                }
            ]
            + variables
        },
        "panels": placed,
    }


def written(made):
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"
