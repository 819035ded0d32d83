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
    "Node.js": [(["node", "--version"], (20, 0)), (["npm", "--version"], (9, 0))],
    "Go": [(["go", "version"], (1, 24))],
    "Java": [(["java", "-version"], (17, 0)), (["mvn", "--version"], (3, 6))],
    "Rust": [(["cargo", "--version"], (1, 85))],
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
    """In which variables commands of this language run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    more = {"PYTHONPATH": str(tools / "python"), "PYTHONDONTWRITEBYTECODE": "1"} if language == "Python" else {}
    return kept | more
