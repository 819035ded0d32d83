#!/usr/bin/env python3
"""Checks what lies in deploy/ beside the program, without a tenant of Entra and without a container
engine. The only entry; `make test-deploy` calls it.

    tests/deploy/run.py --tools .tools/deploy --program target/release/connector-bridge

--tools    where tests/deploy/fetch-tools has put its tools
--program  a connector-bridge
--only     checks whose name has this in it
--mutants  breaks copies of the files in many ways, and sees that each is noticed
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Deploy:
    """What is checked, and what with."""

    root: Path
    program: Path
    nats_server: Path
    nats_python: Path
    prometheus: Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools/deploy")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/connector-bridge")
    parser.add_argument("--only", default="")
    parser.add_argument("--mutants", action="store_true")
    return parser.parse_args()


def tool(variable, default):
    return ROOT / os.environ.get(variable, default)


def main():
    options = arguments()
    # The packages of the tests before those of the system; jq where the system has none.
    sys.path.insert(0, str(options.tools / "python"))
    sys.path.append(str(ROOT / "tests"))
    os.environ["PATH"] += f":{(options.tools / 'bin').resolve()}"
    import checking
    import checks
    import mutants

    deploy = Deploy(
        root=ROOT,
        program=options.program.resolve(),
        nats_server=tool("NATS_SERVER", ".tools/nats-server/bin/nats-server"),
        nats_python=tool("NATS_PY", ".tools/python"),
        prometheus=tool("PROMETHEUS", ".tools/prometheus"),
    )
    if options.mutants:
        return mutants.run(deploy)
    chosen = [check for check in checks.ALL if options.only in check.__name__]
    total = checking.carry_out(chosen, deploy)
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
