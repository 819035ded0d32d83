#!/usr/bin/env python3
"""Checks the chart without a cluster. The only entry; `make test-chart` calls it.

    tests/chart/run.py --tools .tools/chart --program target/release/connector-bridge

--tools    where tests/chart/fetch-tools has put its tools
--program  a connector-bridge, which has to accept every rendered configuration
--update   writes what is made of something else, and the golden renders, in place of checking them
--mutants  breaks a copy of the chart in many ways, and sees that each is noticed
"""

import argparse
import concurrent.futures
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools/chart")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/connector-bridge")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--mutants", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    # The packages of the tests before those of the system.
    sys.path.insert(0, str(options.tools / "python"))
    sys.path.append(str(ROOT / "tests"))
    import chart as charts
    import checking
    import checks
    import mutants
    import rendering

    helms = [
        rendering.Helm(options.tools / "helm3/bin/helm", "Helm 3"),
        rendering.Helm(options.tools / "helm4/helm", "Helm 4"),
    ]
    npm = options.tools / "npm"
    chart = charts.Chart(
        folder=ROOT / "helm/connector-bridge",
        root=ROOT,
        helms=helms,
        program=options.program.resolve(),
        npm=npm if npm.exists() and shutil.which("node") else None,
        pool=concurrent.futures.ThreadPoolExecutor(2),
    )
    if options.mutants:
        return mutants.run(chart)
    chart.update = options.update
    total = checking.carry_out(checks.ALL, chart)
    renders = ", ".join(f"{helm.name}: {helm.count} calls" for helm in helms)
    print(f"{total}; {renders}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
