"""What both entries ask for on the command line."""

import argparse
import os
import sys
from pathlib import Path

from stage import HERE, Tools

ROOT = HERE.parent


def parser(page: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=page, formatter_class=argparse.RawTextHelpFormatter)
    server = os.environ.get("NATS_SERVER", ".tools/nats-server/bin/nats-server")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/connector-bridge")
    parser.add_argument("--programs", type=Path, default=ROOT / "target/bench/release")
    parser.add_argument("--packages", type=Path, default=ROOT / ".tools/bench")
    parser.add_argument("--nats-server", type=Path, default=ROOT / server)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", type=lambda text: set(filter(None, text.split(","))))
    parser.add_argument("--results", type=Path)
    parser.add_argument("--picture", type=Path)
    return parser


def tools(options: argparse.Namespace) -> Tools:
    places = (options.program, options.nats_server, options.programs, options.packages)
    return Tools(*(place.resolve() for place in places))


def check_names(chosen: set[str], known: list[str]) -> None:
    if unknown := chosen - set(known):
        raise SystemExit(f"{sorted(unknown)} is none of {known}")


def say(text: str) -> None:
    """What is going on; the tables alone go to standard output."""
    print(text, file=sys.stderr, flush=True)
