"""Processes that are started, looked at and ended."""

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# How long anything may take that should happen soon.
SOON_SECONDS = 60


class Fault(Exception):
    """Why something could not be measured, in words."""


def until(what: str, look: Callable[[], object], pause: float = 0.01):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + SOON_SECONDS
    while not (found := look()):
        if time.monotonic() > end:
            raise Fault(f"{what}: not within {SOON_SECONDS} s")
        time.sleep(pause)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Program:
    """A process whose output goes to a file."""

    def __init__(self, command: list, log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        # Where it serves its metrics, if it does.
        self.admin: int | None = None
        with log.open("wb") as out:
            self.begun = time.monotonic()
            self.process = subprocess.Popen(
                command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def id(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, word: str) -> bool:
        """Whether this word has come. A program that has ended is a fault."""
        if self.process.poll() is not None:
            raise Fault(f"{self.process.args[0]} has ended\n{self.said()}")
        return word in self.said()

    def wait_for_port(self, port: int) -> float:
        """Milliseconds from just before the program was started to the first connection that it took."""

        def look() -> bool:
            if self.process.poll() is not None:
                raise Fault(f"{self.process.args[0]} has ended\n{self.said()}")
            return listens(port)

        until(f"{self.process.args[0]} listens", look, pause=0.0001)
        return (time.monotonic() - self.begun) * 1_000

    def memory(self) -> dict[str, float]:
        """MiB that are resident now, and the most that ever were."""
        lines = Path(f"/proc/{self.id}/status").read_text().splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
        return {"now": kib["VmRSS"] / 1_024, "most": kib["VmHWM"] / 1_024}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
