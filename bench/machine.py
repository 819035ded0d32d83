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


def _revision(program: Path) -> str | None:
    """Which commit the program was built at; it can be older than the tree around it."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\b[0-9a-f]{40}\b", said)
    return found.group(0)[:9] if found else None


def line(tools: Tools) -> str:
    """One line that says it all."""
    cpu = _first("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.machine()
    governor = _first("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", r"(\w+)")
    memory = int(_first("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) / 1_048_576
    versions = {
        "connector-bridge": _version(tools.bridge, "--version"),
        "at": _revision(tools.bridge),
        "Rust": _version("rustc", "--version"),
        "nats-server": _version(tools.nats_server, "--version"),
        "Node": _version("node", "--version"),
        "Python": platform.python_version(),
    }
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    parts = [cpu, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", f"Linux {platform.release()}"]
    return ", ".join(parts + ([f"governor {governor}"] if governor else [])) + f"; {known}; everything on this machine"
