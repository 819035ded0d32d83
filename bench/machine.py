"""What was measured on, and with what."""

import os
import platform
import re
import subprocess
from pathlib import Path

from stage import Tools


def _first(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1).strip() if found else None


def _version(*command: object) -> str | None:
    try:
        said = subprocess.run(list(map(str, command)), capture_output=True, text=True).stdout
    except OSError:
        return None
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found.group(0) if found else None


def _revision() -> str | None:
    """Which commit is measured. A program can be older than the tree around it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or None


def line(tools: Tools) -> str:
    """One line that says it all."""
    cpu = _first("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.machine()
    governor = _first("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", r"(\w+)")
    memory = int(_first("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) / 1_048_576
    versions = {
        "connector-bridge": _version(tools.bridge, "--version"),
        "at": _revision(),
        "Rust": _version("rustc", "--version"),
        "nats-server": _version(tools.nats_server, "--version"),
        "Node": _version("node", "--version"),
        "Python": platform.python_version(),
    }
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    parts = [cpu, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", f"Linux {platform.release()}"]
    return ", ".join(parts + ([f"governor {governor}"] if governor else [])) + f"; {known}; everything on this machine"
