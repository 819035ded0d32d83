#!/usr/bin/env python3
"""Writes operations.json and identity.json beside this file; with --check says whether they are up
to date. They are never edited by hand: `source` says what is in them."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True

from source import identity, operations  # noqa: E402
from source.grafana import dashboard, variable, written  # noqa: E402
from source.terms import PROCESS, name_of, one  # noqa: E402

VARIABLES = [
    variable("namespace", f"label_values({name_of('build_info')}, namespace)", ".*"),
    variable("job", f'label_values({name_of("build_info")}{{namespace=~"$namespace"}}, job)', ".+"),
    variable(
        "instance",
        f'label_values({name_of("build_info")}{{namespace=~"$namespace", job=~"$job"}}, instance)',
        ".+",
    ),
    variable(
        "connector",
        f"label_values({name_of('deadline_seconds')}{{{PROCESS}}}, connector)",
        ".+",
    ),
]

STARTS = {
    "name": "Starts of the bridge",
    "datasource": {"type": "prometheus", "uid": "$datasource"},
    "enable": True,
    "iconColor": "blue",
    "expr": f"1000 * {one('process_start_time_seconds')} and on (job, instance) {one('build_info')}",
    "titleFormat": "Started",
    "textFormat": "{{instance}}",
    "useValueForTime": "on",
    "step": "",
}

TAG = "connector-bridge"


DASHBOARDS = {
    "operations.json": dashboard(
        "connector-bridge-operations",
        "connector-bridge: operations",
        "Do sign-ups work, and if not, why? For those who run connector-bridge.",
        operations.ROWS,
        VARIABLES,
        [STARTS],
        TAG,
        since="now-1h",
        refresh="30s",
    ),
    "identity.json": dashboard(
        "connector-bridge-identity",
        "connector-bridge: sign-ups",
        "What people got who signed up. For the identity team.",
        identity.ROWS,
        VARIABLES,
        [STARTS],
        TAG,
        since="now-24h",
        refresh="5m",
    ),
}


def main():
    stale = []
    for name, made in DASHBOARDS.items():
        path = Path(__file__).parent / name
        if not path.exists() or path.read_text() != written(made):
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(written(made))
    if stale and "--check" in sys.argv:
        sys.exit(f"not up to date, run dashboards/generate.py: {', '.join(stale)}")


if __name__ == "__main__":
    main()
