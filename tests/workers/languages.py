"""The languages of the examples, and what of their toolchains has to be there."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

# For each language its programs: how each is asked for its version, and the oldest that will do.
TOOLCHAINS = {
    "Python": [(["python3", "--version"], (3, 11))],
    "Node.js": [(["node", "--version"], (20, 6)), (["npm", "--version"], (9, 0))],
    "Go": [(["go", "version"], (1, 26))],
    "Java": [(["java", "-version"], (17, 0)), (["mvn", "--version"], (3, 6))],
    "Rust": [(["cargo", "--version"], (1, 89))],
}


@functools.cache
def missing(language: str) -> str | None:
    """What is missing for this language, in words; None where everything is there."""
    for command, oldest in TOOLCHAINS[language]:
        if shutil.which(command[0]) is None:
            return f"there is no {command[0]}"
        done = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"(\d+)\.(\d+)", done.stdout + done.stderr)
        if done.returncode or found is None:
            return f"{command[0]} does not tell its version"
        if tuple(map(int, found.groups())) < oldest:
            return f"{command[0]} is {found[0]}, which is older than {'.'.join(map(str, oldest))}"
    return None


def environment(language: str, tools: Path) -> dict[str, str]:
    """In which variables commands of this language run. What they fetch and build stays with our own
    tools; crates are shared with the bridge."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    more = {
        "Python": {"PYTHONPATH": str(tools / "python"), "PYTHONDONTWRITEBYTECODE": "1"},
        "Go": {
            "GOMODCACHE": str(tools / "go/modules"),
            "GOCACHE": str(tools / "go/build"),
            "GOFLAGS": "-modcacherw",  # else nobody could delete them
        },
        # Maven is done before optimising would pay.
        "Java": {"MAVEN_OPTS": f"-Dmaven.repo.local={tools / 'maven'} -XX:TieredStopAtLevel=1"},
        # One folder, so that the page and the example build what both need once.
        "Rust": {"CARGO_TARGET_DIR": str(tools / "rust"), "CARGO_PROFILE_DEV_DEBUG": "line-tables-only"},
    }
    return kept | more.get(language, {})
