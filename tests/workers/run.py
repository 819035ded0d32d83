#!/usr/bin/env python3
"""Runs every example worker against the real bridge and a real nats-server. The only entry;
`make test-workers` calls it.

    tests/workers/run.py --program target/release/connector-bridge [NAME ...]

NAME           a worker, as approval-python or "docs/workers.md, Python"; all of them where none is named
--program      the connector-bridge to run
--nats-server  the nats-server to run
--tools        where `make` has put what the examples need

An example is a folder in examples/workers and a file in tests/workers/examples, which says how it is
built and run, and which sign-ups it is documented to decide and how. example.py describes the file.
The workers in docs/workers.md are taken from the page itself: page.py.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    server = os.environ.get("NATS_SERVER", ".tools/nats-server/bin/nats-server")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/connector-bridge")
    parser.add_argument("--nats-server", type=Path, default=ROOT / server)
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools")
    return parser.parse_args()


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended then too
    options = arguments()
    sys.path.append(str(ROOT / "tests"))
    import checking
    import checks
    import documents
    import example
    import languages
    import page
    import stage

    tools = stage.Tools(ROOT, options.program.resolve(), options.nats_server.resolve(), options.tools.resolve())
    total = checking.Total()
    with tempfile.TemporaryDirectory() as folder:
        workers = [(each, {}) for each in example.all_of(ROOT)] + page.workers(ROOT, Path(folder))
        names = [each.name for each, _ in workers]
        if unknown := set(options.names) - set(names):
            raise SystemExit(f"{sorted(unknown)} is none of {names}")
        for each, files in workers:
            if options.names and each.name not in options.names:
                continue
            begun = time.monotonic()
            if missing := languages.missing(each.language):
                total.skip(f"{each.name}: not run: {each.language}, because {missing}")
                continue
            checks.run(each, files, tools, total)
            print(f"     {each.name} took {time.monotonic() - begun:.1f} s", flush=True)
    total.check("the README shows a worker of the page", page.readme_has_the_same, ROOT)
    total.check("every link in the documents leads somewhere", documents.links_lead_somewhere, ROOT)
    total.check("bridges without credentials listen on this machine only", documents.open_bridges_listen_here, ROOT)
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
